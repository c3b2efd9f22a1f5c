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

MEMORY_BYTES = 32 << 20


class Closing:
    """What holds scratch space, as a context manager that gives it back."""

    def close(self) -> None:
        """Give it back."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Scratch(Closing):
    """Rows of C numbers that need not fit into memory.

    The file has no name in any folder, so the system removes it however the process ends.

    Args:
        num_columns: C. dtype: of every number, in and out.
        directory: where the file lives once there is one; None takes TMPDIR.
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
        self._place = directory or tempfile.gettempdir()
        self._lock = threading.Lock()  # one thread may read ahead while another writes
        try:
            self._file = tempfile.SpooledTemporaryFile(max(memory_bytes, 1), dir=directory)  # noqa: SIM115
        except OSError as error:
            raise self._failure(error) from error
        weakref.finalize(self, self._file.close)  # quietly, should the owner forget

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take, in memory or on disk."""
        return self.rows * self._row_bytes

    def append(self, rows: NDArray[Any]) -> None:
        """Put (n, C) rows behind the last one."""
        self._put(self.rows, rows)
        self.rows += len(rows)

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Put (n, C) rows over those from `start` on; they must be there already."""
        stop = start + len(rows)
        assert 0 <= start <= stop <= self.rows, f"rows {start} to {stop} of {self.rows}"
        self._put(start, rows)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) as an (n, C) array of the caller's own."""
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
        """Give memory and disk back; a second call does nothing."""
        with contextlib.suppress(OSError):  # a full disk may only show when the last buffer is flushed
            self._file.close()

    def _put(self, start: int, rows: NDArray[Any]) -> None:
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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return GmvaeError(
                f"{self._place}: the disk is full at {_size(self.nbytes)} of scratch space; free some or set TMPDIR"
            )
        return GmvaeError(f"{self._place}: no scratch file can be made there ({error.strerror}); set TMPDIR")


def require_free(directory: str | None, nbytes: int) -> None:
    """Refuse work whose `nbytes` of scratch space do not fit on the disk of `directory` (None: TMPDIR)."""
    place = directory or tempfile.gettempdir()
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise GmvaeError(f"{place}: cannot be used for scratch space ({error.strerror}); set TMPDIR") from error
    if nbytes > free:
        raise GmvaeError(
            f"{place}: {_size(free)} are free, but {_size(nbytes)} of scratch space are needed; free some or set TMPDIR"
        )


def _size(nbytes: float) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
