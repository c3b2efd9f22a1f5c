"""The seam to what runs many tasks: this machine's processes, or a cluster that another program manages.

An engine is a context manager with one method,

    for index, result in engine.run(function, tasks, shared): ...

which calls `function(shared, task)` for every task and yields each result once, as it is finished. Tasks are taken from
their iterator as places become free, so that a million of them cost no memory; `shared` travels to each worker once. A
task whose worker is lost is done again where the engine can; an error in a task is raised as it is, and ends the
others. Functions stand at the top of a module; they, tasks and results are pickled.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import chain, islice
from types import TracebackType
from typing import Protocol, Self, TypeVar

from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.system.concurrency import Processes

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

WAITING = 2  # tasks in flight for each worker: one that is done and one that waits for it


class Engine(Protocol):
    """Workers that compute tasks, until the context ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def run(
        self, function: Callable[[Shared, Task], Result], tasks: Iterable[Task], shared: Shared
    ) -> Iterator[tuple[int, Result]]:
        """Compute `function(shared, task)` for every task; yield (position, result) as they finish.

        Raises:
            GmvaeError: a worker was lost, again and again where the engine repeats tasks. Errors in tasks as they are.
        """


class LocalEngine:
    """Processes of this machine; with one of them, or one task, all work is done in this process.

    Args:
        workers: processes at most; None: as many as this one may use processors.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._processes = Processes(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._processes.__exit__(kind, error, trace)

    def run(
        self, function: Callable[[Shared, Task], Result], tasks: Iterable[Task], shared: Shared
    ) -> Iterator[tuple[int, Result]]:
        """Compute tasks, as in `Engine`."""
        remaining = enumerate(tasks)
        first = list(islice(remaining, WAITING * self._processes.workers))
        if self._processes.workers == 1 or len(first) == 1:
            for index, task in chain(first, remaining):
                yield index, function(shared, task)
            return
        pending = {self._processes.submit(function, shared, task): index for index, task in first}
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
                for index, task in islice(remaining, 1):
                    pending[self._processes.submit(function, shared, task)] = index


def in_order(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """Yield results in the order of their tasks, each as soon as all before it are there."""
    waiting: dict[int, Result] = {}
    position = 0
    for index, result in results:
        waiting[index] = result
        while position in waiting:
            yield waiting.pop(position)
            position += 1


def engine_of(config: EngineConfig) -> Engine:
    """Make the engine that the options name; it starts, or joins its cluster, as the context begins.

    Raises:
        ConfigError: the package of the engine is not installed, or its cluster is not named.
    """
    if config.engine == "dask":
        from gmvae_cli.system.dask_engine import DaskEngine

        return DaskEngine(config)
    if config.engine == "ray":
        from gmvae_cli.system.ray_engine import RayEngine

        return RayEngine()
    return LocalEngine(config.workers)
