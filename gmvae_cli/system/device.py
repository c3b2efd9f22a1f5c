"""The device of the work, and settings of the process that does it."""

import ctypes

import torch

from gmvae_cli.errors import ConfigError, GmvaeError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt's options, from glibc's malloc.h
_MMAP_BYTES = 4 << 20  # a block of `infer` with 4 regimes, 3 MiB an array, stays below it and is reused
_KEPT_BYTES = 64 << 20  # freed memory that is kept for reuse: some twenty arrays of such a block


def configure_process() -> None:
    """Set up this process for numerical work; called once by a command, and by every worker process.

    Denormal numbers are flushed to zero in the calling thread: a probability below 1e-38 counts as 0, and arithmetic
    with it is slow. PyTorch uses one thread: operations are many and small, and on a busy machine threads that wait for
    one another were measured ten times slower than one thread.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    _reuse_freed_memory()


def _reuse_freed_memory() -> None:
    """Let glibc keep freed memory for the next block, and map large arrays apart; without glibc nothing happens.

    By default glibc returns memory that the next block requests again: clearing pages took a third of the time of
    `infer`. And it keeps large arrays in fragments that fit no later one: the peak over 20 million rows was 1.6 times
    that over 2 million.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def trim_malloc() -> None:
    """Return freed memory to the system before it fragments; cheap enough for about once a second."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def device_of(name: str) -> torch.device:
    """Look up the device that `--device` names: cpu, cuda, cuda:N or mps, or auto for the fastest available.

    Raises:
        ConfigError: no such kind of device. GmvaeError: not on this machine; the message lists those available.
    """
    available = _available()
    if name == "auto":
        return torch.device(available[1] if len(available) > 1 else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"--device is '{name}', but must be cpu, auto, cuda, cuda:N or mps")
    full_name = f"cuda:{int(index or 0)}" if kind == "cuda" else kind
    if full_name not in available:
        raise GmvaeError(f"--device is '{name}', but this machine has only: {', '.join(available)}")
    return torch.device(full_name)


def _available() -> list[str]:
    """List the devices of this machine: cpu first, the fastest kind second."""
    names = ["cpu"]
    names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return names + (["mps"] if torch.backends.mps.is_available() else [])
