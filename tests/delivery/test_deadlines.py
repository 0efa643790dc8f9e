"""Batches and exits that are late."""

from __future__ import annotations

from typing import Any, cast

from supervisor.core.effects import ExitReason
from supervisor.delivery.records import PoolWorker
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog.deadlines import EXIT_S, look_at_deadlines
from supervisor.delivery.watchdog.effects import (
    EndIdleWorker,
    EndWorker,
    RecycleWorker,
    WatchdogEffect,
)
from supervisor.diagnostics.collector import Collector
from tests.delivery.handles import StillWorker, a_batch, member


class Busy:
    """A collector that asks every worker."""

    def is_asking(self, worker: object) -> bool:
        return True


def a_pool() -> tuple[PoolRecords, PoolWorker]:
    records, pool_worker = PoolRecords(), member(StillWorker(1))
    records.forked(pool_worker)
    return records, pool_worker


def look(records: PoolRecords, now: float, collector: object = None) -> list[WatchdogEffect]:
    """Any: a stand-in for a collector that asks."""
    asks = Collector() if collector is None else cast(Any, collector)
    return list(look_at_deadlines(records, asks, now))


def test_batch_in_time_is_left_alone() -> None:
    """Up to its deadline."""
    records, pool_worker = a_pool()
    records.handed_over(pool_worker, a_batch(1, deadline=30.0))
    assert look(records, 30.0) == []


def test_time_without_a_cpu_does_not_make_a_batch_late() -> None:
    """What its worker lost since it has the batch is added, as far as the lease goes."""
    records, pool_worker = a_pool()
    pool_worker.lost_s = 100.0
    records.handed_over(pool_worker, a_batch(1, deadline=30.0))
    pool_worker.lost_s += 20.0
    assert look(records, 50.0) == []
    (late,) = look(records, 51.0)
    assert isinstance(late, EndWorker)
    assert late.reason is ExitReason.TIMEOUT
    pool_worker.lost_s += 80.0
    assert look(records, 90.0) == []
    (starved,) = look(records, 96.0)
    assert isinstance(starved, EndWorker)
    assert starved.reason is ExitReason.RECYCLE, "nobody is charged"


def test_time_without_a_cpu_does_not_make_an_exit_late() -> None:
    """A worker that has nothing left to do, and has had no CPU to end with."""
    records, pool_worker = a_pool()
    pool_worker.is_leaving = True
    pool_worker.rests(10.0)
    pool_worker.lost_s = 20.0
    assert look(records, 30.0 + EXIT_S) == []
    assert [type(end) for end in look(records, 30.1 + EXIT_S)] == [EndIdleWorker]


def test_last_batch_of_a_worker_that_is_late_ends_it() -> None:
    """The text says whether it was the destination or the worker that did not end."""
    records, pool_worker = a_pool()
    batch = a_batch(1, deadline=30.0)
    records.handed_over(pool_worker, batch)
    why = "batch of a not ended 31 s after it was handed over"
    assert look(records, 31.0) == [EndWorker(1, ExitReason.TIMEOUT, why)]
    assert pool_worker.overdue == (1,)
    batch.reported[:] = bytes([1] * 3)
    why = (
        "batch of a not ended, since it does not end when it is cancelled,"
        " 31 s after it was handed over"
    )
    assert look(records, 31.0) == [EndWorker(1, ExitReason.TIMEOUT, why)]


def test_other_batches_of_a_late_worker_may_end_first() -> None:
    """Its place is taken meanwhile."""
    records, pool_worker = a_pool()
    records.handed_over(pool_worker, a_batch(1, deadline=30.0))
    records.handed_over(pool_worker, a_batch(2, "b", deadline=60.0))
    assert look(records, 31.0) == [RecycleWorker(1)]
    assert pool_worker.overdue == (1,)


def test_worker_that_does_not_exit_is_ended() -> None:
    """Once it has nothing left to do, and nobody asks it for evidence."""
    records, pool_worker = a_pool()
    pool_worker.is_leaving, pool_worker.idle_since = True, 10.0
    assert look(records, 10.0 + EXIT_S) == []
    ends = [EndIdleWorker(1, "did not exit 5 s after its drain")]
    assert look(records, 10.1 + EXIT_S) == ends
    assert look(records, 10.1 + EXIT_S, Busy()) == []
    records.handed_over(pool_worker, a_batch(1, deadline=99.0))
    assert look(records, 10.1 + EXIT_S) == []
