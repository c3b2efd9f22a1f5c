"""Tasks on the workers of a Ray cluster, which is joined and never started: RAY_ADDRESS names it."""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self

from gmvae_cli.errors import ConfigError, GmvaeError
from gmvae_cli.system.engine import WAITING, Result, Shared, Task

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read as the package is imported; nothing is reported anywhere
try:
    import ray
except ImportError:
    raise ConfigError("--engine ray needs the package ray, which is not installed; pip install 'gmvae[ray]'") from None

_RETRIES = 3  # of a task that was lost with its worker


class RayEngine:
    """Workers of Ray.

    Raises:
        ConfigError: RAY_ADDRESS names no cluster.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("RAY_ADDRESS", "")
        if not self._address:
            raise ConfigError(
                "--engine ray joins a cluster, but RAY_ADDRESS names none; set it to HOST:PORT of the head node, or to "
                "auto on a machine of the cluster"
            )

    def __enter__(self) -> Self:
        try:
            ray.init(address=self._address, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=True)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise GmvaeError(f"RAY_ADDRESS is '{self._address}', but no cluster answers there ({reason})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.shutdown()

    def run(
        self, function: Callable[[Shared, Task], Result], tasks: Iterable[Task], shared: Shared
    ) -> Iterator[tuple[int, Result]]:
        """Compute tasks, as in `system.engine.Engine`."""
        remote = ray.remote(max_retries=_RETRIES)(_call)
        kept, remaining = ray.put(pickle.dumps((function, shared))), enumerate(tasks)
        positions: dict[Any, int] = {}

        def submit(count: int) -> None:
            for index, task in islice(remaining, count):
                positions[remote.remote(kept, pickle.dumps(task))] = index

        submit(max(WAITING, WAITING * int(ray.cluster_resources().get("CPU", 1))))
        try:
            while positions:
                for reference in ray.wait(list(positions), num_returns=1)[0]:
                    yield positions.pop(reference), _result_of(reference)
                    submit(1)
        finally:
            for reference in positions:
                ray.cancel(reference)


def _call(job: bytes, task: bytes) -> bytes:
    """Compute a task; all is pickled here, because arrays that Ray passes on are shared and cannot be written to."""
    function, shared = pickle.loads(job)
    return pickle.dumps(function(shared, pickle.loads(task)))


def _result_of(reference: Any) -> Any:
    try:
        return pickle.loads(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RaySystemError as error:
        raise GmvaeError(f"the Ray cluster lost a task ({str(error).splitlines()[0]})") from error
    except ray.exceptions.RayError as error:
        raise GmvaeError(
            f"a task was lost with its worker {_RETRIES + 1} times, possibly because memory ran out; give the workers "
            "more of it, or a smaller --stretch-rows"
        ) from error
