"""Fetches what was parked once its turn has come.

Owns which connections have users whose next event is to be promoted, and the job that promotes
them. `UserOrder` decides whose turn it is. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice

import structlog

from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.parked import PROMOTED, ConnectionUser, PromoteJob
from supervisor.queue.sqlite.retry_heap import RetryEntry
from supervisor.queue.sqlite.store import Store
from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)


class Promotion:
    """`on_work` hears of connections that have something to lease again."""

    def __init__(
        self,
        memory: QueueMemory,
        store: Store,
        clock: Clock,
        on_work: Callable[[ConnectionBacklog], None],
    ) -> None:
        self._memory = memory
        self._store = store
        self._clock = clock
        self._on_work = on_work
        self._wanted: dict[int, ConnectionBacklog] = {}
        self._task: asyncio.Task[None] | None = None

    def soon(self, backlog: ConnectionBacklog) -> None:
        """Users of this connection may have their turn: promote with the next commit."""
        if backlog.order is None or not backlog.order.promoted:
            return
        self._wanted[backlog.id] = backlog
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._promote_all())

    def again(self) -> None:
        """What the disk refused is asked for once more."""
        for backlog in list(self._wanted.values()):
            self.soon(backlog)

    async def close(self) -> None:
        """Ask for nothing more; the next start finds whose turn it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _promote_all(self) -> None:
        try:
            while self._wanted:
                await self._store.run_prepared(self._job, self._promoted)
        except QueueUnavailable as error:
            _log.warning("queue_order_waits", error=str(error))
        finally:
            self._task = None

    def _job(self) -> PromoteJob:
        users = (
            (backlog.id, user)
            for backlog in self._wanted.values()
            if backlog.order is not None
            for user in backlog.order.promoted
        )
        return PromoteJob(tuple(islice(users, PROMOTED)), self._clock())

    def _promoted(self, found: Mapping[ConnectionUser, RetryEntry | None]) -> None:
        promoted: dict[int, list[RetryEntry]] = {}
        for (number, user), entry in found.items():
            backlog = self._memory.backlogs[number]
            if backlog.order is None:
                continue
            backlog.order.promotion_ended(user, found=entry is not None)
            entries = promoted.setdefault(number, [])
            if entry is not None:
                entries.append(entry)
        for number, entries in promoted.items():
            backlog = self._memory.backlogs[number]
            self._memory.promoted(backlog, entries)
            self._on_work(backlog)
        for backlog in list(self._wanted.values()):
            if backlog.order is None or not backlog.order.promoted:
                del self._wanted[backlog.id]
