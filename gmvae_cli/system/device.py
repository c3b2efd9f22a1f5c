"""Where the work runs."""

import ctypes

import torch

from gmvae_cli.errors import ConfigError, GmvaeError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the options' numbers in malloc.h
_LARGE_ARRAY = 4 << 20  # bytes
_KEPT = 64 << 20  # bytes


def _reuse_arrays() -> None:
    """Have arrays reused from block to block, large ones given back when they are freed, where the C library is glibc.

    Left alone it gives back what the next block asks for again, and clearing pages took a third of the time of
    `infer`; and large arrays it keeps in pieces that no later one fits: over 20 million rows the peak was 1.6 times
    that over 2 million.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_ARRAY)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def trim_malloc() -> None:
    """Give the system what was kept for reuse, in pieces that have become too many; worth it every second or so."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _present() -> list[str]:
    names = ["cpu"]
    names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def resolve(name: str) -> torch.device:
    """The device that `--device` names: cpu, cuda, cuda:N or mps, or auto for the best one present.

    In this thread denormal numbers are flushed to zero from here on (a probability below 1e-38 is 0 to us, and
    arithmetic with it slow), and the processor works with one thread: the steps are many and small, and threads that
    wait for one another on a busy machine were measured ten times slower than one alone.

    Raises:
        ConfigError: no such kind of device. GmvaeError: not on this machine; the message names those present.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    _reuse_arrays()
    present = _present()
    if name == "auto":
        return torch.device(present[1] if len(present) > 1 else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"--device is '{name}', but must be cpu, auto, cuda, cuda:N or mps")
    wanted = f"cuda:{int(index or 0)}" if kind == "cuda" else kind
    if wanted not in present:
        raise GmvaeError(f"--device {name}: there is no such device here; present are: {', '.join(present)}")
    return torch.device(wanted)
