"""Tasks on the workers of Dask (`distributed`): of a cluster of this machine, or of a scheduler that is joined.

A scheduler without TLS runs whatever reaches it. So ours listens on the loopback interface alone, without a dashboard,
and one elsewhere is joined only where the connection is encrypted, or the user says that its network can be trusted.
"""

import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from types import TracebackType
from typing import Any, Self

from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.errors import ConfigError, GmvaeError
from gmvae_cli.system.concurrency import interrupts_ignored, num_processors
from gmvae_cli.system.engine import WAITING, Result, Shared, Task

try:
    import dask
    import distributed
except ImportError:
    raise ConfigError(
        "--engine dask needs the package distributed, which is not installed; pip install 'gmvae[dask]'"
    ) from None

_SECONDS = 30  # to reach a scheduler
_QUIET = {
    # a task that is lost with its worker three times kills workers
    "distributed.scheduler.allowed-failures": 3,
    "distributed.logging": {"distributed": "critical", "bokeh": "critical", "tornado": "critical"},
    "distributed.admin.log-length": 0,
    "distributed.worker.memory.spill": False,  # memory is flat by design, so nothing is to be moved or paused
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
}


class DaskEngine:
    """Workers of Dask.

    Args:
        config: names a scheduler, or a number of workers of this machine; DASK_SCHEDULER_ADDRESS, else all processors.
    Raises:
        ConfigError: a scheduler in a network without encryption, as the class of this module says.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._stack = ExitStack()
        self._address = config.scheduler or (None if config.workers else os.environ.get("DASK_SCHEDULER_ADDRESS"))
        self._workers = config.workers or num_processors()
        self._is_trusted = config.trust_network
        self._client: Any = None

    def __enter__(self) -> Self:
        self._stack.enter_context(dask.config.set(_QUIET))
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            self._client = self._stack.enter_context(self._joined() if self._address else self._started())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def _started(self) -> Any:
        """Start workers of this machine, which listen on loopback and end with this process."""
        with interrupts_ignored():
            cluster = distributed.LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
                memory_limit=None,
                silence_logs=logging.CRITICAL,
            )
        self._stack.enter_context(cluster)
        return distributed.Client(cluster)

    def _joined(self) -> Any:
        assert self._address is not None
        if "://" not in self._address and os.path.exists(self._address):
            where: dict[str, Any] = {"scheduler_file": self._address}
            address = distributed.utils.json_load_robust(self._address)["address"]
        else:
            where, address = {"address": self._address}, self._address
        if not (is_private(address) or self._is_trusted):
            raise ConfigError(
                f"--scheduler is '{self._address}', which is reached without TLS, so whoever is in its network can run "
                "programs on its workers; give a tls:// address, or --trust-network"
            )
        try:
            return distributed.Client(**where, timeout=_SECONDS)
        except (OSError, ValueError) as error:
            raise GmvaeError(f"{self._address}: no scheduler answers there ({_first_line(error)})") from error

    def run(
        self, function: Callable[[Shared, Task], Result], tasks: Iterable[Task], shared: Shared
    ) -> Iterator[tuple[int, Result]]:
        """Compute tasks, as in `system.engine.Engine`."""
        client, remaining = self._client, enumerate(tasks)
        # a task of its own, and not data that is scattered: it can be made again where the only worker that had it died
        kept = client.submit(_same, shared, pure=False)
        threads = sum(client.nthreads().values())
        positions: dict[Any, int] = {}

        def submit(count: int) -> list[Any]:
            futures = []
            for index, task in islice(remaining, count):
                futures.append(client.submit(function, kept, task, pure=False))
                positions[futures[-1]] = index
            return futures

        finished = distributed.as_completed(submit(max(WAITING, WAITING * threads)))
        try:
            for future in finished:
                yield positions.pop(future), _result_of(future)
                for more in submit(1):
                    finished.add(more)
        finally:
            client.cancel([kept, *positions])


def _same(shared: Shared) -> Shared:
    return shared


def _result_of(future: Any) -> Any:
    try:
        return future.result()
    except distributed.scheduler.KilledWorker as error:
        raise GmvaeError(
            f"a task was lost with its worker {error.allowed_failures + 1} times, possibly because memory ran out; "
            "give the workers more of it, or a smaller --stretch-rows"
        ) from None


def is_private(address: str) -> bool:
    """Return whether an address is encrypted, or is that of this machine alone."""
    parts = re.fullmatch(r"(?:(\w+)://)?\[?([^\]]*?)\]?(?::\d+)?", address)
    if parts is None:
        return False
    scheme, host = parts.groups()
    if scheme in ("tls", "wss", "inproc"):
        return True
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
