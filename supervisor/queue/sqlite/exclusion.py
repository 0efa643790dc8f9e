"""The time in which nothing of a connection may be leased.

Owns the wait for it and its end. Must not know what is done meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.store import Store


@asynccontextmanager
async def without_leases(
    backlog: ConnectionBacklog, store: Store, on_work: Callable[[ConnectionBacklog], None]
) -> AsyncIterator[None]:
    """Keep what is leased as it is, between a look at it and the commit that goes by it.

    One at a time for each connection; `on_work` hears of the end.
    """
    while backlog.is_locked:
        await store.flushed()
    backlog.lock()
    try:
        yield
    finally:
        backlog.unlock()
        on_work(backlog)
