"""Deadlines: of batches that workers have, and of workers that are to exit.

Owns which worker is ended for being late. Must not know what becomes of the batches of one that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from supervisor.core.effects import ExitReason
from supervisor.delivery.records import InflightBatch, PoolWorker
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.effects import (
    EndIdleWorker,
    EndWorker,
    RecycleWorker,
    WatchdogEffect,
)
from supervisor.diagnostics.collector import Collector

#: Seconds that a worker with nothing left to do may take to exit.
EXIT_S = 5.0


def look_at_deadlines(
    state: PoolRecords, collector: Collector, now: float
) -> Iterable[WatchdogEffect]:
    """Workers that are late, and what is to be done about each."""
    for pool_worker in state.workers:
        overdue = [batch for batch in pool_worker.batches.values() if batch.deadline < now]
        if overdue:
            pool_worker.overdue = tuple(batch.id for batch in overdue)
            yield _overdue(pool_worker, overdue, now)
        elif (
            pool_worker.is_leaving
            and not pool_worker.batches
            and not pool_worker.is_giving_evidence
            and not collector.is_asking(pool_worker.worker)
            and pool_worker.idle_since is not None
            and now - pool_worker.idle_since > EXIT_S
        ):
            yield EndIdleWorker(pool_worker.number, f"did not exit {EXIT_S:g} s after its drain")


def _overdue(
    pool_worker: PoolWorker, overdue: Sequence[InflightBatch], now: float
) -> WatchdogEffect:
    """End a worker whose batch is past its time; its other batches may end before that.

    They can: where its event loop does not run, `limits.py` has it killed at once.
    """
    batch = overdue[0]
    if len(overdue) < len(pool_worker.batches):
        return RecycleWorker(pool_worker.number)
    how = "ended" if batch.unreported else "ended, since it does not end when it is cancelled,"
    return EndWorker(
        pool_worker.number,
        ExitReason.TIMEOUT,
        f"batch of {batch.connection} not {how}"
        f" {now - batch.started:.0f} s after it was handed over",
    )
