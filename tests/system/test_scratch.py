import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_cli.errors import GmvaeError
from gmvae_cli.system import scratch
from gmvae_cli.system.scratch import Scratch, require_free


@given(
    cuts=st.lists(st.integers(0, 40), max_size=6),
    dtype=st.sampled_from([np.float64, np.float32, np.int16]),
    memory_bytes=st.sampled_from([0, 100, 1 << 20]),
    data=st.data(),
)
@settings(deadline=None)
def test_rows_come_back_as_an_array_would_give_them(cuts, dtype, memory_bytes, data):
    twin = np.random.default_rng(sum(cuts)).integers(-99, 99, (sum(cuts), 3)).astype(dtype)
    with Scratch(3, dtype, memory_bytes=memory_bytes) as rows:
        for stop, count in zip(np.cumsum(cuts), cuts, strict=True):
            rows.append(twin[stop - count : stop])
        start = data.draw(st.integers(0, len(twin)))
        stop = data.draw(st.integers(start, len(twin)))
        assert rows.rows == len(twin)
        assert rows.nbytes == twin.nbytes
        np.testing.assert_array_equal(rows.read(start, stop), twin[start:stop], strict=True)
        rows.write(start, -twin[start:stop])
        twin[start:stop] *= -1
        np.testing.assert_array_equal(rows.read(0, len(twin)), twin, strict=True)


def test_what_is_read_is_the_callers_own():
    with Scratch(1) as rows:
        rows.append(np.ones((2, 1)))
        rows.read(0, 2)[:] = 7
        assert (rows.read(0, 2) == 1).all()


def test_rows_that_do_not_exist_are_an_error():
    with Scratch(1) as rows:
        rows.append(np.ones((2, 1)))
        for call in (lambda: rows.read(0, 3), lambda: rows.write(1, np.ones((2, 1))), lambda: rows.append(np.ones(3))):
            with pytest.raises(AssertionError):
                call()


def test_large_scratch_has_a_file_but_no_name(tmp_path):
    with Scratch(1, directory=str(tmp_path), memory_bytes=8) as rows:
        rows.append(np.ones((100, 1)))
        assert os.listdir(tmp_path) == []
        assert rows._file._rolled
    rows.close()


def test_full_disk_is_one_line(monkeypatch):
    class Full:
        def seek(self, start):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    with Scratch(1) as rows:
        rows._file.close()
        monkeypatch.setattr(rows, "_file", Full())
        with pytest.raises(GmvaeError, match=r"the disk is full after 0.0 MiB of scratch space; free space"):
            rows.append(np.ones((1, 1)))


def test_a_disk_that_cannot_be_read_is_one_line(monkeypatch):
    class Broken:
        def seek(self, start):
            raise OSError(5, "Input/output error")

        def close(self):
            pass

    with Scratch(1) as rows:
        rows.append(np.ones((1, 1)))
        rows._file.close()
        monkeypatch.setattr(rows, "_file", Broken())
        with pytest.raises(GmvaeError, match="Input/output error"):
            rows.read(0, 1)


def test_missing_folder_is_one_line(tmp_path):
    with Scratch(1, directory=str(tmp_path / "no"), memory_bytes=8) as rows, pytest.raises(GmvaeError, match="No such"):
        rows.append(np.ones((100, 1)))


def test_too_little_free_disk_is_an_error_before_work():
    require_free(None, 1)
    with pytest.raises(GmvaeError, match=r"free, but 1073741824.0 GiB of scratch space are needed"):
        require_free(tempfile.gettempdir(), 2**60)
    with pytest.raises(GmvaeError, match="cannot hold scratch files"):
        require_free("/no/such/folder", 1)
    assert scratch._size(3 * 2**20) == "3.0 MiB"


def test_a_thread_may_read_while_another_writes():
    """Each read gives rows of one kind, whatever a writer at another place does between its seek and its bytes."""
    with Scratch(4, np.int64, memory_bytes=1) as scratch:
        scratch.append(np.arange(40_000).reshape(-1, 4))

        def reads():
            return [scratch.read(0, 2_000) for _ in range(300)]

        with ThreadPoolExecutor(1) as worker:
            pending = worker.submit(reads)
            while not pending.done():
                scratch.write(8_000, np.zeros((2_000, 4), np.int64))
            for rows in pending.result():
                assert rows.ravel().tolist()[:4] == [0, 1, 2, 3]
                assert np.array_equal(rows, np.arange(8_000).reshape(-1, 4))
        assert not scratch.read(8_000, 10_000).any()
