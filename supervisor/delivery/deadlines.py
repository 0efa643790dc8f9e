"""The deadlines of one pool: of batches that workers have, and of workers that are to exit.

Owns when is looked, and who is ended for being late. Must not know what becomes of the
batches of one that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from supervisor.core.effects import ExitReason
from supervisor.delivery.isolation import Suspects
from supervisor.delivery.records import PoolWorker
from supervisor.delivery.settlement import InflightBatch
from supervisor.diagnostics.collector import Collector
from supervisor.runtime.clock import Clock

#: Seconds that a worker with nothing left to do may take to exit.
EXIT_S = 5.0
#: Seconds between two looks at deadlines.
TICK_S = 0.5


class Deadlines:
    """Looks at the pool's own `pool_workers`, as they change, from `start` to `stop`.

    `recycle` has a worker, by its number, replaced at a time and let finish.
    """

    def __init__(
        self,
        pool_workers: Mapping[int, PoolWorker],
        *,
        suspects: Suspects,
        collector: Collector,
        clock: Clock,
        recycle: Callable[[int, float], None],
    ) -> None:
        self._pool_workers = pool_workers
        self._suspects = suspects
        self._collector = collector
        self._clock = clock
        self._recycle = recycle
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now, and go on."""
        self._tick()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = self._clock()
        for pool_worker in list(self._pool_workers.values()):
            overdue = [batch for batch in pool_worker.batches.values() if batch.deadline < now]
            if overdue:
                pool_worker.overdue = tuple(batch.id for batch in overdue)
                self._overdue(pool_worker, overdue, now)
            elif (
                pool_worker.is_leaving
                and not pool_worker.batches
                and not pool_worker.is_giving_evidence
                and not self._collector.is_asking(pool_worker.worker)
                and pool_worker.idle_since is not None
                and now - pool_worker.idle_since > EXIT_S
            ):
                pool_worker.worker.kill_late(f"did not exit {EXIT_S:g} s after its drain")
        self._suspects.tick()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _overdue(self, pool_worker: PoolWorker, overdue: list[InflightBatch], now: float) -> None:
        """Kill a worker whose batch is past its time; its other batches may end before that.

        They can: where its event loop does not run, the guard kills it at once.
        """
        batch = overdue[0]
        if len(overdue) < len(pool_worker.batches):
            self._recycle(pool_worker.worker.number, now)
            return
        how = "ended" if batch.unreported else "ended, since it does not end when it is cancelled,"
        pool_worker.worker.kill(
            ExitReason.TIMEOUT,
            f"batch of {batch.connection} not {how}"
            f" {now - batch.started:.0f} s after it was handed over",
        )
