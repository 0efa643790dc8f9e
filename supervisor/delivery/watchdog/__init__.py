"""Looks at the workers of one pool, and says what is to be done about what it finds.

Owns one timer and three rates: event loops of workers that have batches every 20 ms, limits a few
times within `block_timeout`, deadlines twice a second. What a look finds is decided in the module
of its subject. Must not carry anything out: what is to be done goes to the pool, as effects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from supervisor.core.counted_time import is_late
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import ROUND_S, Responsiveness
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.deadlines import look_at_deadlines
from supervisor.delivery.watchdog.effects import TickIsolation, WatchdogEffect
from supervisor.delivery.watchdog.leaks import LeakMonitor
from supervisor.delivery.watchdog.limits import LimitMonitor
from supervisor.delivery.watchdog.loops import LoopMonitor
from supervisor.diagnostics.collector import Collector
from supervisor.runtime.clock import Clock
from supervisor.workers.spawn import PoolSpec

__all__ = ["Watchdog"]

#: Looks at limits within a block timeout, and the bounds of the seconds between two.
LOOKS, SHORTEST_S, LONGEST_S = 4, 0.02, 0.25
#: Seconds between two looks at deadlines.
DEADLINES_S = 0.5
#: A timer may ring so many seconds early: the event loop's own resolution.
EARLY_S = 0.001
#: Seconds that a late look waits: the loop takes what has come in before its next timers.
LISTEN_S = 0.001


class Watchdog:
    """That of one pool, from `start` until it is empty; `do` takes what is to be done."""

    def __init__(
        self,
        pool_spec: PoolSpec,
        state: PoolRecords,
        *,
        isolation: Isolation,
        responsiveness: Responsiveness,
        collector: Collector,
        clock: Clock,
        others_wait: Callable[[str, float], bool],
        do: Callable[[Iterable[WatchdogEffect]], None],
    ) -> None:
        self.leaks = LeakMonitor(pool_spec.name)
        self.limits = LimitMonitor(state, responsiveness, self.leaks)
        self._loops = LoopMonitor(state, isolation, responsiveness, self.limits, others_wait)
        self._state = state
        self._collector = collector
        self._clock = clock
        self._do = do
        self._limits_every_s = LONGEST_S
        self._loops_at: float | None = None
        self._limits_at = self._deadlines_at = 0.0
        self._is_closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = float("inf")
        self._has_listened = False
        self.follow(pool_spec)

    def follow(self, pool_spec: PoolSpec) -> None:
        """New workers are forked under these limits from now on."""
        every_s = pool_spec.limits.block_timeout_s / LOOKS
        self._limits_every_s = min(max(every_s, SHORTEST_S), LONGEST_S)
        self.leaks.soft_limit = pool_spec.limits.memory_soft_limit

    def start(self) -> None:
        """Begin to look."""
        now = asyncio.get_running_loop().time()
        self._limits_at, self._deadlines_at = now + self._limits_every_s, now
        self._arm()

    def stop_when_empty(self) -> None:
        """Look no more once all workers are gone."""
        self._is_closing = True
        self.worker_gone()

    def worker_gone(self) -> None:
        """There is one less to look at."""
        if not self._is_closing or self._state.workers:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings_at = float("-inf")  # nothing arms it any more

    def batch_handed_over(self) -> None:
        """A worker has something to come round to: loops are looked at for as long as any has."""
        if self._loops_at is None:
            self._loops_at = asyncio.get_running_loop().time() + ROUND_S
            self._arm()

    def _arm(self) -> None:
        at = min(self._limits_at, self._deadlines_at)
        if self._loops_at is not None:
            at = min(at, self._loops_at)
        if at < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = at
            self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        due, self._timer, self._rings_at = self._rings_at, None, float("inf")
        now = asyncio.get_running_loop().time() + EARLY_S
        if not self._has_listened and is_late(due, now):
            # This process did not run: what workers have said meanwhile is read first.
            self._has_listened = True
            self._rings_at = now
            self._timer = asyncio.get_running_loop().call_later(LISTEN_S, self._ring)
            return
        self._has_listened = False
        try:
            if self._loops_at is not None and self._loops_at <= now:
                self._loops_at = now + ROUND_S
                self._do(self._loops.look(self._clock()))
                if self._state.running.is_idle:
                    self._loops_at = None
            if self._limits_at <= now:
                self._limits_at = now + self._limits_every_s
                self._do(self.limits.look(self._limits_every_s))
            if self._deadlines_at <= now:
                self._deadlines_at = now + DEADLINES_S
                self._do(look_at_deadlines(self._state, self._collector, self._clock()))
                self._do((TickIsolation(),))
        finally:
            self._arm()  # a bug in one look shall not be the end of all others
