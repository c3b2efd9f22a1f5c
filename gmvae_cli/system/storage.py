"""Files at URLs (`s3://`, `gs://`, `hdfs://`, `file://`), through Arrow's file systems and the clouds' own credentials.

Functions that say "path" take a local one as well, for which they do what the system does.
"""

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, unquote

from gmvae_cli.errors import ConfigError, SeriesError

_SCHEMES = ("s3", "gs", "hdfs", "file")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)([^?]*)(.*)", re.DOTALL)
_MAGIC = re.compile(r"[*\[]")  # of a pattern; `?` begins the options of a URL
_CHUNK_BYTES = 1 << 23  # of one request
_LONGEST_REASON = 120
_CAUSES = {  # what the file systems say -> what it means
    r"NO_SUCH_BUCKET|Bucket '[^']*' not found|bucket does not exist": "there is no such bucket",
    r"AWS Error \w*(DENIED|ACCESS_KEY|SIGNATURE|TOKEN|AUTH)|PERMISSION_DENIED|UNAUTHENTICATED|OAuth2|status 40[13]": (
        "access is denied; check the credentials and what they allow"
    ),
    r"configured region is|HTTP status 301": (
        "the bucket is in another region; set AWS_REGION, or end the URL with ?region=NAME"
    ),
    r"HTTP status (5\d\d|429)|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|THROTTLING": (
        "the server is busy or fails, after several tries; try again later"
    ),
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|UNAVAILABLE|DEADLINE": (
        "no connection, after several tries; check the network, the address (AWS_ENDPOINT_URL) and the region"
    ),
    r"libjvm|libhdfs": "hdfs:// needs Java and Hadoop's libhdfs; set JAVA_HOME, HADOOP_HOME and CLASSPATH",
    r"NO_SUCH_KEY": "there is no such file",
}


class _Place(NamedTuple):
    """Parts of a URL: root (scheme and host), path as it is written (from its / on), and the options behind `?`."""

    root: str
    path: str
    query: str

    @property
    def key(self) -> str:
        """The path without %-codes."""
        return unquote(self.path)

    def url(self, key: str) -> str:
        """Return the URL of another key at the same root."""
        return f"{self.root}{quote(key, safe='/=:+,@')}{self.query}"


def is_url(path: str) -> bool:
    """Return whether a path is a URL, with `scheme://` in front."""
    return _URL.match(path) is not None


def without_options(path: str) -> str:
    """Return a path, of a URL what stands before its options (`?`), to see how its name ends."""
    return path.partition("?")[0] if is_url(path) else path


def decoded(path: str) -> str:
    """Return a path, of a URL without %-codes and options: the same text for all ways to write it."""
    if not is_url(path):
        return path
    place = _place(path)
    return place.root + place.key


def local_name(path: str) -> str | None:
    """Return the path on this machine of a path or a file:// URL; None of others."""
    if not is_url(path):
        return path
    place = _place(path)
    return place.key if place.root == "file://" else None


def joined(folder: str, relative: str) -> str:
    """Return the path of a file in a folder."""
    if not is_url(folder):
        return os.path.join(folder, relative)
    place = _place(folder)
    return place.url(f"{place.key.rstrip('/')}/{relative}")


def absolute(path: str) -> str:
    """Return the path as a process that started elsewhere finds it."""
    return path if is_url(path) else os.path.abspath(path)


def beside(path: str, suffix: str) -> str:
    """Return the path of a file whose name has a suffix more than that of another."""
    start = without_options(path)
    return f"{start.rstrip('/')}{suffix}{path[len(start) :]}"


def parent(path: str) -> str:
    """Return the folder of a path."""
    if not is_url(path):
        return os.path.dirname(path)
    place = _place(path)
    return place.url(os.path.dirname(place.key))


def listing(url: str) -> tuple[str, list[str]] | None:
    """List the files below a folder, or those that a pattern matches, with few requests for many files.

    Returns:
        The folder, decoded, and the URLs; None where the URL names neither a folder nor a pattern.
    Raises:
        SeriesError: it cannot be listed.
    """
    import pyarrow.fs  # not above: loading it takes time that local files need not spend

    place = _place(url)
    magic = _MAGIC.search(place.path)
    with reaching(url):
        if magic is None:
            kind = _info(url).type
            if kind == pyarrow.fs.FileType.NotFound:
                _require_bucket(url)
            if kind != pyarrow.fs.FileType.Directory:
                return None
            key, pattern = place.key.rstrip("/"), ["**", "*"]
        else:
            fixed = place.path.rfind("/", 0, magic.start())
            key, pattern = unquote(place.path[:fixed]), unquote(place.path[fixed + 1 :]).split("/")
        system, folder = _located(place.url(key))
        recursive = pattern[0] == "**" or len(pattern) > 1
        infos = system.get_file_info(pyarrow.fs.FileSelector(folder or "/", allow_not_found=True, recursive=recursive))
        if not infos:
            _require_bucket(url)
    names = [info.path[len(folder) :].lstrip("/") for info in infos if info.type == pyarrow.fs.FileType.File]
    if magic is not None:
        names = [name for name in names if _matches(name.split("/"), pattern)]
    return f"{place.root}{key}", [place.url(f"{key}/{name}") for name in names]


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Return whether the folders and the name of a path match a pattern, by the rules of `glob`."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        deeper = len(parts) > 1 and not parts[0].startswith(".") and _matches(parts[1:], pattern)
        return deeper or _matches(parts, pattern[1:] or ["*"])
    is_hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    return not is_hidden and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def open_native(path: str) -> Any:
    """Open a file for Arrow, which reads only what it needs of it."""
    import pyarrow as pa

    if not is_url(path):
        return pa.OSFile(path)
    system, key = _located(path)
    with reaching(path):
        return system.open_input_file(key)


def open_binary(path: str) -> BinaryIO:
    """Open a file from its start."""
    if not is_url(path):
        return open(path, "rb")
    system, key = _located(path)
    with reaching(path):
        stream = system.open_input_stream(key, compression=None, buffer_size=_CHUNK_BYTES)
    return cast(BinaryIO, stream)


class LocalCopy:
    """A temporary file with the bytes of a URL, for libraries that need a path; removed when it is no longer in use.

    Attributes:
        path: of the copy.
    Raises:
        SeriesError: it cannot be read, or not be kept.
    """

    def __init__(self, url: str) -> None:
        with _keeping(url):
            descriptor, self.path = tempfile.mkstemp(prefix="gmvae-")
        weakref.finalize(self, _remove_local, self.path)
        with _keeping(url), open_native(url) as source, open(descriptor, "wb") as target:
            while True:
                with reaching(url):
                    portion = source.read(_CHUNK_BYTES)
                if not portion:
                    break
                target.write(portion)
            if target.tell() != source.size():
                raise SeriesError(f"{url}: only {target.tell():,} of {source.size():,} bytes came; try again")


def size(path: str) -> int | None:
    """Return the bytes of a file; None where there is none."""
    if not is_url(path):
        return os.path.getsize(path) if os.path.isfile(path) else None
    info = _info(path)
    return info.size if info.is_file else None


def modified(path: str) -> float | None:
    """Return when a file was written, in seconds since 1970; None where there is none."""
    if not is_url(path):
        return os.path.getmtime(path) if os.path.exists(path) else None
    info = _info(path)
    return None if info.mtime_ns is None or not info.is_file else info.mtime_ns / 1e9


def remove(path: str) -> None:
    """Remove a file; one that is not there is no error."""
    if is_url(path) and size(path) is not None:
        system, key = _located(path)
        with reaching(path, "removed"):
            system.delete_file(key)
    elif not is_url(path):
        _remove_local(path)


def make_folder(url: str) -> None:
    """Make a folder where the file system has any; object stores have names alone."""
    system, key = _located(url)
    if system.type_name not in ("s3", "gcs"):
        with reaching(url, "written"):
            system.create_dir(key, recursive=True)


@contextmanager
def uploaded(url: str) -> Iterator[str]:
    """Yield a local name whose file becomes that of the URL when the block ends, and is dropped if it fails.

    A writer of Arrow that is closed or dropped publishes what it has, so nothing is written under the final name: a
    temporary key beside it is filled, measured, and renamed by the server. An empty one is made at once, so that a
    place where nothing can be written is an error before long work.

    Raises:
        SeriesError: it cannot be written.
    """
    with _keeping(url), tempfile.NamedTemporaryFile(prefix="gmvae-") as local, _temporary_key(url) as keys:
        yield local.name
        system, temporary, target = keys
        with reaching(url, "written"):
            _send(local.name, system, temporary)
            if system.type_name == "hdfs" and system.get_file_info(target).is_file:  # it renames onto no file
                system.delete_file(target)
            system.move(temporary, target)


def require_writable(url: str) -> None:
    """Check that a file can be written there.

    Raises:
        SeriesError: it cannot.
    """
    with _temporary_key(url):
        pass


@contextmanager
def _temporary_key(url: str) -> Iterator[tuple[Any, str, str]]:
    """Make an empty temporary key; yield file system, temporary and final key. It is gone after the block."""
    system, target = _located(url)
    folder, slash, name = target.rpartition("/")
    temporary = f"{folder}/.{name}.part"
    with reaching(url, "written"):
        if not name or not slash or system.get_file_info(target).type.name == "Directory":
            raise SeriesError(f"{url}: is a folder, not a file that can be written")
    try:
        with reaching(url, "written"), system.open_output_stream(temporary, compression=None):
            pass
        yield system, temporary, target
    finally:
        with suppress(OSError):
            system.delete_file(temporary)


def _send(local: str, system: Any, key: str) -> None:
    """Copy a local file to a key; an OSError if it did not arrive whole."""
    with open(local, "rb") as source, system.open_output_stream(key, compression=None) as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)
    sent, arrived = os.path.getsize(local), system.get_file_info(key).size
    if arrived != sent:
        raise OSError(f"{arrived or 0:,} of {sent:,} bytes arrived")


@contextmanager
def reaching(url: str, done: str = "read") -> Iterator[None]:
    """Turn what a file system raises in the block into one line.

    Args:
        done: the participle for what was tried.
    """
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:  # Arrow's errors are kinds of these
        raise problem(url, error, done) from error


def problem(url: str, error: Exception, done: str = "read") -> SeriesError:
    """Return the error for a file system's one, as one line that says what happened and what to do."""
    text = " ".join(str(error).split())
    cause = next((cause for mark, cause in _CAUSES.items() if re.search(mark, text)), None)
    if cause is None and isinstance(error, FileNotFoundError):
        cause = "there is no such file" if done == "read" else "there is no such folder"
    if cause is None:
        text = re.sub(r"^\[Errno \d+\] | ?\(Request ID.*| Detail: .*", "", text)
        cause = text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."
    return SeriesError(f"{url}: {cause}" if cause.startswith("there is") else f"{url}: cannot be {done} ({cause})")


@contextmanager
def _keeping(url: str) -> Iterator[None]:
    """Turn what the system raises in the block about a temporary file into one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise SeriesError(f"{url}: cannot be kept in {tempfile.gettempdir()} ({reason}); set TMPDIR") from error


def _remove_local(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _place(url: str) -> _Place:
    parts = _URL.match(url)
    assert parts is not None
    scheme, host, path, query = parts.groups()
    if scheme.lower() not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ConfigError(f"{url}: {scheme}:// is none of {known}; download the file, or name it there")
    if ":" in host.rpartition("@")[0]:
        hidden = f"{scheme}://{host.rpartition('@')[2]}{path}"
        raise ConfigError(f"{hidden}: a URL is no place for a password; use the cloud's own settings for credentials")
    return _Place(f"{scheme.lower()}://{host}", path, query)


def _info(url: str) -> Any:
    system, key = _located(url)
    with reaching(url):
        return system.get_file_info(key.rstrip("/") or "/")


def _require_bucket(url: str) -> None:
    """Say whether it is the bucket that is not there."""
    system, key = _located(url)
    bucket = key.partition("/")[0]
    if bucket and system.get_file_info(bucket).type.name == "NotFound":
        raise SeriesError(f"{url}: there is no such bucket")


def _located(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and its path there."""
    place = _place(url)
    with reaching(url, "reached"):
        system, base = _opened(f"{place.root}/{place.query}")
    return system, base + place.key


@lru_cache
def _opened(root: str) -> tuple[Any, str]:
    """Connect once: a new file system would shake hands for each file. `from_uri` honours AWS_ENDPOINT_URL."""
    from pyarrow.fs import FileSystem

    system, base = FileSystem.from_uri(root)
    return system, base.rstrip("/")
