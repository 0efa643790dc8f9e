"""Tells the service which connections have work, at once or when a retry falls due.

Owns the one timer of the queue and the times that it is set for. Must not know what a lease is:
what else is to be done at some time, its owner hands in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.runtime.clock import Clock


class Alarms:
    """For the event loop's thread. Times are epoch seconds of `clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, ConnectionBacklog]] = []
        # When each connection is told next, by number.
        self._at: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def start(self, on_work: Callable[[str], None], expire: Callable[[], float | None]) -> None:
        """`on_work` hears names of connections.

        `expire` is called when the timer rings; it does what is overdue, and returns when it wants
        to be called again.
        """
        self._loop = asyncio.get_running_loop()
        self._on_work = on_work
        self._expire = expire

    def close(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()

    def has_work(self, backlog: ConnectionBacklog) -> None:
        """A connection may have something to lease, and has a retry to wait for."""
        self.plan_retry(backlog)
        self._on_work(backlog.name)

    def plan_retry(self, backlog: ConnectionBacklog) -> None:
        """Tell of the next retry when it falls due; those that are due were told of."""
        at = backlog.next_retry_at
        if at is not None and self._clock() < at < self._at.get(backlog.id, float("inf")):
            self._at[backlog.id] = at
            heappush(self._due, (at, backlog.id, backlog))
            self.ring_at(at)

    def ring_at(self, at: float) -> None:
        """Set the timer, where it is set for later."""
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0.0, at - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._clock()
        again_at = self._expire()
        while self._due and self._due[0][0] <= now:
            at, number, backlog = heappop(self._due)
            if self._at.get(number) == at:
                del self._at[number]
                self.has_work(backlog)
        if self._due:
            self.ring_at(self._due[0][0])
        if again_at is not None:
            self.ring_at(again_at)
