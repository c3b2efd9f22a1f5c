"""Work that goes on in a second thread while the first is busy."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, the next one made in a thread of its own while the caller works on this one."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as worker:
        pending = worker.submit(next, iterator, end)
        while (item := pending.result()) is not end:
            pending = worker.submit(next, iterator, end)
            yield cast(Item, item)
