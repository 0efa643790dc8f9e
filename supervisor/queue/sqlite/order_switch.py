"""Turns the order of a connection's users on and off, as the config asks for it.

Owns the two jobs that do so and what memory makes of them. For the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from supervisor.core.scheduling.user_order import UserOrder
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.exclusion import without_leases
from supervisor.queue.sqlite.leases import LeaseTable
from supervisor.queue.sqlite.parked import EndOrderJob, OrderStart, StartOrderJob
from supervisor.queue.sqlite.promotion import Promotion
from supervisor.queue.sqlite.store import Store
from supervisor.runtime.clock import Clock


class OrderSwitch:
    """`on_work` hears of connections that have something to lease again."""

    def __init__(
        self,
        store: Store,
        leases: LeaseTable,
        promotion: Promotion,
        clock: Clock,
        on_work: Callable[[ConnectionBacklog], None],
    ) -> None:
        self._store = store
        self._leases = leases
        self._promotion = promotion
        self._clock = clock
        self._on_work = on_work

    async def set_ordered(self, backlog: ConnectionBacklog, ordered: bool) -> None:
        """Follow the config. Raises QueueUnavailable."""
        if ordered == (backlog.order is not None) and (ordered or not backlog.parked):
            return
        async with without_leases(backlog, self._store, self._on_work):
            if ordered:
                await self._store.run_prepared(
                    partial(_start_job, backlog), partial(self._started, backlog)
                )
            else:
                await self._store.run_prepared(partial(self._end_job, backlog), backlog.order_ended)
        self._promotion.soon(backlog)

    def _started(self, backlog: ConnectionBacklog, start: OrderStart) -> None:
        now = self._clock()
        order = UserOrder(running=self._leases.running_users(backlog))
        backlog.order_began(order, start.parked)
        for user in start.users:
            if user.has_barrier:
                order.failed(user.user, now if user.since is None else user.since)
            for _ in range(user.parked):
                order.put_aside(user.user, now)

    def _end_job(self, backlog: ConnectionBacklog) -> EndOrderJob:
        return EndOrderJob(backlog.id, self._clock())


def _start_job(backlog: ConnectionBacklog) -> StartOrderJob:
    return StartOrderJob(backlog.id, frozenset(backlog.leased_retries))
