"""Keeps users' events in order on disk: who is called next, and since when a connection is ordered.

Owns the jobs behind `core/ordering.py`: fetching what was put aside once its
turn has come, and turning the order of a connection on and off. For the event
loop's thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice

import structlog

from supervisor.clock import Clock
from supervisor.core.ordering import UserOrder
from supervisor.queue import QueueUnavailable
from supervisor.queue.sqlite.backlog import Due, Lane
from supervisor.queue.sqlite.journal import Meta
from supervisor.queue.sqlite.leases import Leases
from supervisor.queue.sqlite.memory import Memory
from supervisor.queue.sqlite.parked import CALLED, Begun, Caller, begin, call, end
from supervisor.queue.sqlite.store import Store

_log = structlog.get_logger(__name__)


class Promotion:
    """`on_work` hears of lanes that have something to lease again."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        leases: Leases,
        clock: Clock,
        on_work: Callable[[Lane], None],
    ) -> None:
        self._memory = memory
        self._store = store
        self._leases = leases
        self._clock = clock
        self._on_work = on_work
        self._lanes: dict[int, Lane] = {}
        self._task: asyncio.Task[None] | None = None

    def soon(self, lane: Lane) -> None:
        """Somebody of this connection was called: fetch him with the next commit."""
        if lane.order is None or not lane.order.called:
            return
        self._lanes[lane.id] = lane
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._call_all())

    def again(self) -> None:
        """What the disk refused is asked for once more."""
        for lane in list(self._lanes.values()):
            self.soon(lane)

    async def close(self) -> None:
        """Ask for nothing more; who was called is found by the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _call_all(self) -> None:
        try:
            while self._lanes:
                await self._store.run(self._ready, self._came)
        except QueueUnavailable as error:
            _log.warning("queue_order_waits", error=str(error))
        finally:
            self._task = None

    def _ready(self) -> Callable[[sqlite3.Connection, Meta], Mapping[Caller, Due | None]]:
        callers = [
            (lane.id, user)
            for lane in self._lanes.values()
            if lane.order is not None
            for user in lane.order.called
        ]
        now = self._clock()
        return lambda db, meta: call(db, islice(callers, CALLED), now)

    def _came(self, found: Mapping[Caller, Due | None]) -> None:
        for (number, user), due in found.items():
            lane = self._memory.lanes[number]
            if lane.order is None:
                continue
            lane.order.came(user, found=due is not None)
            if due is not None:
                lane.aside -= 1
                lane.retrying += 1
                self._memory.plan(lane, due)
            self._on_work(lane)
        for lane in list(self._lanes.values()):
            if lane.order is None or not lane.order.called:
                del self._lanes[lane.id]

    async def set_ordered(self, lane: Lane, ordered: bool) -> None:
        """Follow the config. Raises QueueUnavailable."""
        if ordered == (lane.order is not None) and (ordered or not lane.aside):
            return
        # Nothing may be leased between the look at what is leased and the commit.
        while lane.is_locked:
            await self._store.flushed()
        lane.is_locked = True
        try:
            if ordered:
                await self._store.run(partial(self._beginning, lane), partial(self._begun, lane))
            else:
                await self._store.run(partial(self._ending, lane), partial(self._ended, lane))
        finally:
            lane.is_locked = False
            self._on_work(lane)
        self.soon(lane)

    def _beginning(self, lane: Lane) -> Callable[[sqlite3.Connection, Meta], Begun]:
        leased = frozenset(lane.leased_retries)
        return lambda db, meta: begin(db, lane.id, leased)

    def _begun(self, lane: Lane, begun: Begun) -> None:
        now = self._clock()
        order = lane.order = UserOrder(running=self._leases.running_users(lane))
        lane.aside += begun.put_aside
        lane.retrying -= begun.put_aside
        if begun.put_aside:
            self._memory.reread_retries(lane)
        for user in begun.users:
            if user.has_head:
                order.failed(user.user, now if user.since is None else user.since)
            for _ in range(user.aside):
                order.put_aside(user.user, now)

    def _ending(self, lane: Lane) -> Callable[[sqlite3.Connection, Meta], int]:
        now = self._clock()
        return lambda db, meta: end(db, lane.id, now)

    def _ended(self, lane: Lane, due: int) -> None:
        lane.order = None
        lane.aside -= due
        lane.retrying += due
        self._memory.reread_retries(lane)
