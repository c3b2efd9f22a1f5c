"""Files written whole or not at all: a locked temporary name beside the target, renamed at the end."""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.system import storage


def require_apart(outputs: Mapping[str, str | None], inputs: Sequence[str] = ()) -> None:
    """Reject outputs that would overwrite one another, or an input; and '-' where only a file will do.

    Args:
        outputs: option -> path, None where it is not asked for. inputs: paths that must not be written over.
    Raises:
        ConfigError: names the two options.
    """
    seen = {_identity(path): f"the input '{path}'" for path in inputs if path != "-"}
    for option, path in outputs.items():
        if path is None:
            continue
        if path == "-":
            raise ConfigError(f"{option} is '{path}', but needs the name of a file")
        other = seen.setdefault(_identity(path), option)
        if other != option:
            raise ConfigError(f"{option} is '{path}', the same file as {other}; name another one")


def require_no_input(outputs: Sequence[str], inputs: Sequence[str]) -> None:
    """Reject outputs of which one would replace an input, whatever way its path is written.

    Raises:
        ConfigError: names the two.
    """
    read = {_identity(path): path for path in inputs if path != "-"}
    for path in outputs:
        if path != "-" and _identity(path) in read:
            raise ConfigError(
                f"--output would replace the input '{read[_identity(path)]}' by '{path}'; name another one"
            )


def _identity(path: str) -> tuple[int, int] | str:
    """Return what two paths of one file share: its place on the disk, or the path it will have."""
    local = storage.local_name(path)
    if local is None:
        return storage.decoded(path)
    place = os.path.realpath(local)  # new/../a.csv is a.csv, though there is no folder "new" yet
    try:
        status = os.stat(place)
    except OSError:
        return place
    return status.st_dev, status.st_ino


def require_writable(path: str) -> None:
    """Check before long work that a file can be written there; '-' always can.

    Raises:
        SeriesError: no such folder, or nothing may be written in it.
    """
    if storage.is_url(path):
        storage.require_writable(path)
        return
    target = Path(os.path.realpath(path))
    if path == "-" or (target.exists() and not target.is_file() and not target.is_dir()):  # a device or pipe
        return
    if target.is_dir():
        raise SeriesError(f"{path}: is a folder, not a file that can be written")
    if not target.parent.is_dir():
        raise SeriesError(f"{path}: cannot be written (there is no folder '{os.path.dirname(path)}')")
    if not os.access(target.parent, os.W_OK):
        raise SeriesError(f"{path}: cannot be written ({os.strerror(errno.EACCES)})")


def make_folder(path: str) -> None:
    """Make a folder for outputs, and those above it, where they are not there yet.

    Raises:
        SeriesError: it cannot be made.
    """
    if storage.is_url(path):
        storage.make_folder(path)
        return
    try:
        os.makedirs(path or ".", exist_ok=True)
    except OSError as error:
        raise SeriesError(f"{path}: cannot be written ({error.strerror})") from error


@contextmanager
def atomic(path: str) -> Iterator[str]:
    """Yield a temporary name beside `path` that takes its place when the block ends, and is removed if it fails.

    The temporary file is made at once, empty, and locked, so that of two runs with the same target the second gets an
    error; what a killed run left under the name is removed. A device or pipe is written directly; where `path` is a
    symbolic link, the file that it points to is replaced. A URL gets a local name, uploaded at the end.

    Raises:
        SeriesError: the file cannot be made, filled or renamed, or another run is writing it. BrokenPipeError passes.
    """
    if storage.is_url(path):
        with storage.uploaded(path) as local:
            yield local
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise SeriesError(f"{path}: is a folder, not a file that can be written")
    if target.exists() and not target.is_file():
        yield str(target)
        return
    temporary = target.with_name(f".{target.name}.part")
    claim = None
    try:
        claim = _claim(temporary, path)
        yield str(temporary)
        os.replace(temporary, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        no_folder = isinstance(error, FileNotFoundError) and not target.parent.is_dir()
        reason = f"there is no folder '{os.path.dirname(path)}'" if no_folder else _reason(error)
        raise SeriesError(f"{path}: cannot be written ({reason})") from error
    finally:
        if claim is not None:
            if _is_at(claim, temporary):  # never the file that another run has made since ours was renamed
                with suppress(OSError):
                    temporary.unlink()
            os.close(claim)


def _claim(temporary: Path, path: str) -> int:
    """Make a new file of this name and lock it; returns its descriptor, whose closing or this process's end unlocks."""
    while True:
        try:
            claim = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            is_new = True
        except FileExistsError:
            claim, is_new = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), False
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            raise SeriesError(f"{path}: another run is writing it; wait until it ends, or name another file") from None
        except OSError:  # a file system without locks
            if not is_new:
                os.close(claim)
                raise SeriesError(
                    f"{path}: another run is writing it, or was killed; if none is, remove '{temporary}'"
                ) from None
        if _is_at(claim, temporary):
            if is_new:
                return claim
            temporary.unlink()  # left by a run that was killed: its lock was free
        os.close(claim)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _reason(error: OSError) -> str:
    """Return the system's words for an error, without the detail that a library adds."""
    return os.strerror(error.errno) if error.errno else error.strerror or str(error)
