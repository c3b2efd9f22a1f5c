"""Work for several processes at once, none of which outlives it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from gmvae_cli.errors import GmvaeError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
    """(position, result) of every task as it is done, from as many processes as there are processors for us.

    The first tasks begin first. However this ends, no process is left behind; with one processor, or one task, there
    is none beside this one.

    Args:
        work: a function of a module; it, the tasks and the results travel between processes.
    Raises:
        GmvaeError: a process was ended from outside.
    """
    workers = min(len(tasks), _processors())
    if workers <= 1:
        yield from ((index, work(task)) for index, task in enumerate(tasks))
        return
    with _processes(workers) as pool:
        with _interrupts_ignored():  # the first submission starts the processes
            waiting: dict[Future[Result], int] = {pool.submit(work, task): index for index, task in enumerate(tasks)}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def _processors() -> int:
    """How many this process may use, which may be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when the work is broken off."""
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise GmvaeError(
                    "a process that this command started was ended from outside, perhaps for lack of memory"
                ) from None
            raise


def _end_with_parent() -> None:
    """Have this worker end when the process that started it does, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile never notice Ctrl-C, which a terminal sends to all: the first one ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
