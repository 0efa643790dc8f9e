"""Event loops of workers that have batches: which come round, and which connection keeps them.

Owns what is looked at, every 20 ms. What a look means is `core/isolation/responsiveness.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from supervisor.core.isolation.facts import LoopHogged
from supervisor.core.isolation.grants import SharedWorker, left_alone
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import LoopLook, Responsiveness
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.records import PoolWorker
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.effects import GrantBatches, Tell, WatchdogEffect
from supervisor.delivery.watchdog.limits import LimitMonitor


class LoopMonitor:
    """That of one pool."""

    def __init__(
        self,
        state: PoolRecords,
        isolation: Isolation,
        responsiveness: Responsiveness,
        limits: LimitMonitor,
        others_wait: Callable[[str, float], bool],
    ) -> None:
        """`others_wait` tells whether another connection than this one waits for a worker."""
        self._state = state
        self._isolation = isolation
        self._responsiveness = responsiveness
        self._limits = limits
        self._others_wait = others_wait

    def look(self, now: float) -> Iterable[WatchdogEffect]:
        """Look at all of them; `now` is of the service's clock."""
        effects: list[WatchdogEffect] = []
        looks: dict[int, LoopLook | None] = {}
        for pool_worker in self._state.workers:
            if pool_worker.worker.state is not ProcessState.READY:
                continue  # it gets nothing anyway
            if not pool_worker.batches:
                looks[pool_worker.number] = None
                continue
            if ends := self._limits.look_closely(pool_worker.worker):
                effects += ends
                continue
            looks[pool_worker.number] = self._looked(pool_worker, now)
        found = self._responsiveness.round(looks, now)
        effects += [Tell(LoopHogged(one.connection, one.how, one.others)) for one in found.noisy]
        left = left_alone(self._shared(now), self._isolation.trust)
        changed = [*found.changed, *self._state.leave_alone(left)]
        effects += [GrantBatches(number) for number in dict.fromkeys(changed)]
        is_waiting = self._state.serial is not None and self._others_wait("", now)
        return effects + self._limits.others_waited(is_waiting=is_waiting)

    def _looked(self, pool_worker: PoolWorker, now: float) -> LoopLook:
        worker = pool_worker.worker
        beats = worker.beats
        is_away = self._responsiveness.is_away(worker.number, beats, now)
        owner = self._isolation.dedicated_to(pool_worker.number)
        running = self._at_work(pool_worker, owner, is_away=is_away)
        return LoopLook(
            beats=beats,
            running=running,
            # Read from /proc, and of use only where a step may keep the loop.
            times=worker.cpu_times if is_away and running is not None else None,
            dedicated_to=owner,
            has_company=running is not None and self._has_company(pool_worker, running, now),
            ever=pool_worker.configured,
        )

    def _at_work(self, pool_worker: PoolWorker, owner: str | None, *, is_away: bool) -> str | None:
        """Whose step it seems to be in: the page decides only between those that have a batch."""
        if owner is not None:
            mark = pool_worker.worker.marked()
            return owner if is_away or (mark is not None and mark.is_running) else None
        if (mark := pool_worker.believed_mark()) is not None:
            return mark.connection if mark.is_running else None
        present = {batch.connection for batch in pool_worker.batches.values()}
        return next(iter(present)) if is_away and len(present) == 1 else None

    def _has_company(self, pool_worker: PoolWorker, running: str, now: float) -> bool:
        if any(batch.connection != running for batch in pool_worker.batches.values()):
            return True
        # As long as it comes round, who waits finds a place in it.
        is_away = self._responsiveness.is_unresponsive(pool_worker.number)
        return is_away and self._others_wait(running, now)

    def _shared(self, now: float) -> Iterable[SharedWorker]:
        is_late = self._state.batch_times.is_late
        for pool_worker in self._state.serving():
            if pool_worker.worker.state is ProcessState.READY:
                yield SharedWorker(
                    pool_worker.number,
                    self._responsiveness.is_unresponsive(pool_worker.number),
                    {batch.connection for batch in pool_worker.batches.values()},
                    any(
                        is_late(batch.connection, now - batch.started)
                        for batch in pool_worker.batches.values()
                    ),
                )
