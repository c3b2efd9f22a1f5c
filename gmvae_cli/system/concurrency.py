"""Work in parallel: tasks in several processes, and the next item of an iterator in a second thread."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from gmvae_cli.errors import GmvaeError

Item = TypeVar("Item")
Task = TypeVar("Task")
Result = TypeVar("Result")


def prefetch(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the same items in order; a thread computes the next one while the caller works on the current one."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as worker:
        pending = worker.submit(next, iterator, end)
        while (item := pending.result()) is not end:
            pending = worker.submit(next, iterator, end)
            yield cast(Item, item)


class Processes:
    """Worker processes that several rounds of work share: one takes about 1.5 CPU seconds before it begins to work.

    The first round with work for more than one starts them. A context manager: none is left behind.

    Args:
        most: of them, if fewer than this one may use processors.
    Attributes:
        workers: processes that there may be.
    """

    def __init__(self, most: int | None = None) -> None:
        self.workers = min(most or num_processors(), num_processors())
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """Compute every task; yield (position, result) as they finish. With one task this process does all work.

        Tasks start in the given order. No process is left behind, however the iteration ends.

        Args:
            work: a function at the top of a module; it, the tasks and the results are pickled.
        Raises:
            GmvaeError: a worker process was killed. An error in `work` is raised as it is.
        """
        if min(len(tasks), num_processors()) <= 1:
            yield from ((index, work(task)) for index, task in enumerate(tasks))
            return
        position = {self.submit(work, task): index for index, task in enumerate(tasks)}
        for future in as_completed(position):
            yield position[future], future.result()

    def submit(self, work: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Begin a task in one of the processes, which the first one starts."""
        if self._pool is None:
            self._pool = self._stack.enter_context(_process_pool(self.workers))
        with interrupts_ignored():  # a submission starts processes
            return self._pool.submit(work, *arguments)


def num_processors() -> int:
    """Count the processors that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open processes that are terminated when the work inside the block raises an error or is abandoned."""
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _exit_with_parent) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise GmvaeError(
                    "a worker process was killed, possibly because memory ran out; close other programs and try again"
                ) from None
            raise


def _exit_with_parent() -> None:
    """Make this worker exit when the process that started it ends, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all of them: this process terminates them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
