"""Event loops of workers that have batches: which come round, and which connection keeps them.

Owns what is looked at, every 20 ms. What a look means is `core/isolation/responsiveness.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.core.isolation.facts import LoopHogged
from supervisor.core.isolation.grants import SharedWorker, left_to_unproven
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
    ) -> None:
        self._state = state
        self._isolation = isolation
        self._responsiveness = responsiveness
        self._limits = limits

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
            looks[pool_worker.number] = self._looked(pool_worker)
        found = self._responsiveness.round(looks, now)
        effects += [Tell(LoopHogged(connection, how)) for connection, how in found.noisy]
        left = left_to_unproven(self._shared(), self._isolation.trust)
        changed = [*found.changed, *self._state.leave_to_unproven(left)]
        effects += [GrantBatches(number) for number in dict.fromkeys(changed)]
        return effects

    def _looked(self, pool_worker: PoolWorker) -> LoopLook:
        worker = pool_worker.worker
        mark = worker.marked()
        running = mark.connection if mark is not None and mark.is_running else None
        return LoopLook(
            beats=worker.beats,
            running=running,
            # Read from /proc, and of use only where a step may keep the loop.
            waited_s=0.0 if running is None else worker.waited_s,
            dedicated_to=self._isolation.dedicated_to(pool_worker.number),
        )

    def _shared(self) -> Iterable[SharedWorker]:
        for pool_worker in self._state.serving():
            if pool_worker.worker.state is ProcessState.READY:
                yield SharedWorker(
                    pool_worker.number,
                    self._responsiveness.is_unresponsive(pool_worker.number),
                    {batch.connection for batch in pool_worker.batches.values()},
                )
