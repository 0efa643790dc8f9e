"""A limit of time for one process, by time that counts: rings once it had so many seconds.

Owns the timer and the looks; what counts is `core/counted_time.py`'s. For what a worker does once
(start, import, write its stacks); those that serve are looked at by their pool's watchdog. Must not
know what is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from supervisor.core.counted_time import CountedTime, CpuTimes, is_late

#: Looks within a limit, and seconds between two at most.
LOOKS, LONGEST_S = 4, 0.25
#: Seconds that a late look waits: the loop takes what has come in before its next timers.
LISTEN_S = 0.001


class Patience:
    """Calls `then` once, after `limit_s` seconds that count or `most_s` in all, or never."""

    def __init__(
        self,
        limit_s: float,
        times: Callable[[], CpuTimes],
        then: Callable[[], object],
        *,
        most_s: float = float("inf"),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_s, self._times, self._then = limit_s, times, then
        self._every_s = min(limit_s / LOOKS, LONGEST_S)
        self._clock = CountedTime()
        self._counted_s = 0.0
        self._due = self._loop.time()
        self._until = self._due + most_s
        self._clock.looked(times(), self._due)
        self._timer = self._next()

    def cancel(self) -> None:
        """It was done in time."""
        self._timer.cancel()

    def _next(self) -> asyncio.TimerHandle:
        self._due = self._loop.time() + self._every_s
        return self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        self._counted_s += self._clock.looked(self._times(), now, 2 * self._every_s)
        # A timer may ring a moment early: the loop's own resolution.
        if self._counted_s < self._limit_s - LISTEN_S and now < self._until:
            self._timer = self._next()
        elif is_late(self._due, now):
            self._timer = self._loop.call_later(LISTEN_S, self._then)
        else:
            self._then()
