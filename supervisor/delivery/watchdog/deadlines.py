"""Deadlines: of batches that workers have, and of workers that are to exit.

Owns which worker is ended for being late, by time that counts (`core/counted_time.py`). Must not
know what becomes of the batches of one that is.
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
#: Seconds left of a batch's lease when its worker is ended, however little of the time counts.
MARGIN_S = 5.0


def look_at_deadlines(
    state: PoolRecords, collector: Collector, now: float
) -> Iterable[WatchdogEffect]:
    """Workers that are late, and what is to be done about each."""
    for pool_worker in state.workers:
        batches = pool_worker.batches.values()
        overdue = [batch for batch in batches if pool_worker.is_late(batch, now)]
        unleased = [batch for batch in batches if _is_unleased(batch, now)]
        if unleased and not overdue:
            # Others are to have them before they are pending again: nobody's fault.
            starved = f"a batch of {unleased[0].connection} had no CPU to end before its lease does"
            yield EndWorker(pool_worker.number, ExitReason.RECYCLE, starved)
        elif overdue:
            pool_worker.overdue = tuple(batch.id for batch in overdue)
            yield _overdue(pool_worker, overdue, now)
        elif (
            pool_worker.is_leaving
            and not pool_worker.batches
            and not pool_worker.is_giving_evidence
            and not collector.is_asking(pool_worker.worker)
            and pool_worker.idle_s(now) > EXIT_S
        ):
            yield EndIdleWorker(pool_worker.number, f"did not exit {EXIT_S:g} s after its drain")


def _is_unleased(batch: InflightBatch, now: float) -> bool:
    # That of a part is held, and extended, by whoever sent it again.
    return batch.places is None and batch.lease.expires_at < now + MARGIN_S


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
