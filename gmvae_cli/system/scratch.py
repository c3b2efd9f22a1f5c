"""A (T, C) array of one dtype: written forward, read back in any order, on disk once it is large."""

import contextlib
import errno
import shutil
import tempfile
import threading
import weakref
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gmvae_cli.errors import GmvaeError

MEMORY_BYTES = 32 << 20  # of an array before it moves to disk; a million rows of 4 channels stay in memory


class Closing:
    """Context manager of an owner of scratch space, which it frees at the end of the block."""

    def close(self) -> None:
        """Free the scratch space."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Scratch(Closing):
    """Array of T rows and C columns that need not fit into memory.

    The file on disk has no name in any folder, so the system removes it however the process ends.

    Args:
        num_columns: C. dtype: of every number, in and out.
        directory: of the file, once there is one; None takes TMPDIR.
        memory_bytes: up to this size the rows stay in memory.
    """

    def __init__(
        self,
        num_columns: int,
        dtype: DTypeLike = np.float64,
        directory: str | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.num_columns = num_columns
        self.rows = 0
        self._row_bytes = num_columns * self.dtype.itemsize
        self.directory, self._folder = directory, directory or tempfile.gettempdir()
        self._lock = threading.Lock()  # one thread may read while another writes
        try:
            self._file = tempfile.SpooledTemporaryFile(max(memory_bytes, 1), dir=directory)  # noqa: SIM115
        except OSError as error:
            raise self._failure(error) from error
        weakref.finalize(self, self._file.close)  # without a ResourceWarning if the owner does not close it

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take, in memory or on disk."""
        return self.rows * self._row_bytes

    def append(self, rows: NDArray[Any]) -> None:
        """Write (n, C) rows behind the last row."""
        self._put(self.rows, rows)
        self.rows += len(rows)

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Overwrite the rows from `start` on, which must exist, with (n, C) rows."""
        stop = start + len(rows)
        assert 0 <= start <= stop <= self.rows, f"rows {start} to {stop} of {self.rows}"
        self._put(start, rows)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Read rows [start, stop) into a new (n, C) array."""
        assert 0 <= start <= stop <= self.rows, f"rows {start} to {stop} of {self.rows}"
        rows = np.empty((stop - start, self.num_columns), self.dtype)
        try:
            with self._lock:
                self._file.seek(start * self._row_bytes)
                count = self._file.readinto(rows.data.cast("B")) if rows.size else 0
        except OSError as error:
            raise self._failure(error) from error
        assert count == rows.nbytes, f"{count} bytes of {rows.nbytes}"
        return rows

    def close(self) -> None:
        """Free memory and disk; a second call does nothing."""
        with contextlib.suppress(OSError):  # a full disk may only show when the last buffer is flushed
            self._file.close()

    def _put(self, start: int, rows: NDArray[Any]) -> None:
        """Write rows from the position `start` on."""
        rows = np.ascontiguousarray(rows, self.dtype)
        assert rows.shape == (len(rows), self.num_columns), f"shape {rows.shape}, not (n, {self.num_columns})"
        if not rows.size:
            return
        try:
            with self._lock:
                self._file.seek(start * self._row_bytes)
                self._file.write(rows.data.cast("B"))
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> GmvaeError:
        """Turn an error of the operating system into one for the user."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return GmvaeError(
                f"{self._folder}: the disk is full after {_size(self.nbytes)} of scratch space; free space there, or "
                "set TMPDIR to another folder"
            )
        return GmvaeError(
            f"{self._folder}: a scratch file cannot be written there ({error.strerror}); set TMPDIR to another folder"
        )


def require_free(directory: str | None, nbytes: int) -> None:
    """Raise an error if `nbytes` of scratch space do not fit on the disk of `directory` (None: TMPDIR)."""
    folder = directory or tempfile.gettempdir()
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise GmvaeError(
            f"{folder}: cannot hold scratch files ({error.strerror}); set TMPDIR to another folder"
        ) from error
    if nbytes > free:
        raise GmvaeError(
            f"{folder}: the disk has {_size(free)} free, but {_size(nbytes)} of scratch space are needed; free space "
            "there, or set TMPDIR to another folder"
        )


def _size(nbytes: float) -> str:
    """Format bytes for a message."""
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
