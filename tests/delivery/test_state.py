"""The records of a pool agree with each other, whatever happens to workers and batches."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.scheduling.scheduler import Terms
from supervisor.delivery.records import PoolConnection, PoolWorker
from supervisor.delivery.state import PoolRecords
from tests.delivery.handles import StillWorker, a_batch, member


def with_worker(number: int = 1, slot: int | None = 1) -> tuple[PoolRecords, PoolWorker]:
    """A pool with one worker, which serves in a slot."""
    records = PoolRecords()
    pool_worker = member(StillWorker(number))
    records.forked(pool_worker)
    if slot is not None:
        records.assigned(pool_worker, slot)
    return records, pool_worker


def test_a_batch_is_counted_where_it_is() -> None:
    """With its worker while it runs, in the worker's and the slot's counts afterwards."""
    records, pool_worker = with_worker()
    batch = a_batch(7, size=3)
    records.handed_over(pool_worker, batch)
    assert records.inflight == 3
    assert not records.running.is_idle
    assert pool_worker.worker.running == {"a": 3}
    batch.reported[0] = 1
    assert records.inflight == 2
    assert records.ended(pool_worker, 7, now=5.0) is batch
    assert records.inflight == 0
    assert records.running.is_idle
    assert +pool_worker.worker.running == {}
    assert pool_worker.worker.worked == {"a": 3}
    assert (pool_worker.finished, pool_worker.idle_since) == (1, 5.0)
    assert (records.slot(1).batches, records.slot(1).events) == (1, 3)


def test_batches_end_with_their_worker() -> None:
    """They are the caller's to settle: the pool has them no more."""
    records, pool_worker = with_worker()
    records.handed_over(pool_worker, a_batch(1))
    records.handed_over(pool_worker, a_batch(2))
    assert records.gone(1) is pool_worker
    assert records.inflight == 0
    assert records.running.is_idle
    assert set(pool_worker.batches) == {1, 2}
    assert records.worker(1) is None


def test_a_slot_remembers_its_processes() -> None:
    """A worker id is kept across restarts; one that never served has counted nothing."""
    records, _ = with_worker(1)
    records.gone(1)
    second = member(StillWorker(2))
    records.forked(second)
    records.assigned(second, 1)
    assert records.slot(1).processes == 2
    assert records.slot(9).processes == 0


def test_follow_names_those_that_left() -> None:
    """The mapping that others have been given shows the new ones."""
    records = PoolRecords()
    seen = records.connections
    assert records.follow([connection("a"), connection("b")]) == []
    assert records.follow([connection("b"), connection("c")]) == ["a"]
    assert list(seen) == ["b", "c"]


def test_who_is_left_alone_is_told_once() -> None:
    """Only workers that are there, and only what has changed."""
    records, pool_worker = with_worker(1)
    assert records.leave_alone(frozenset({1, 99})) == {1}
    assert records.leave_alone(frozenset({1})) == set()
    assert records.is_left_alone(pool_worker)
    assert records.leave_alone(frozenset()) == {1}
    assert not records.is_left_alone(pool_worker)


def test_the_serial_worker_is_one_at_most() -> None:
    """Another one takes its turn: both have another limit from then on."""
    records, first = with_worker(1)
    second = member(StillWorker(2))
    records.forked(second)
    assert records.make_serial(1) == [first]
    assert records.make_serial(2) == [first, second]
    assert records.make_serial(None) == [second]
    assert records.serial is None


def test_a_batch_that_the_worker_does_not_have_is_a_bug() -> None:
    """Its caller has looked before."""
    records, pool_worker = with_worker()
    with pytest.raises(KeyError):
        records.ended(pool_worker, 1, now=0.0)


@given(st.lists(st.tuples(st.sampled_from("bed"), st.integers(0, 3)), max_size=60))
def test_counts_are_those_of_the_batches_that_run(steps: list[tuple[str, int]]) -> None:
    """After any history of batches begun (b), ended (e) and workers dead (d)."""
    records = PoolRecords()
    workers: dict[int, PoolWorker] = {}
    numbers, ids = iter(range(1000)), iter(range(1000))
    for step, which in steps:
        if which not in workers:
            workers[which] = member(StillWorker(next(numbers)))
            records.forked(workers[which])
            records.assigned(workers[which], which)
        pool_worker = workers[which]
        if step == "b":
            records.handed_over(pool_worker, a_batch(next(ids), connection="ab"[which % 2]))
        elif step == "e" and pool_worker.batches:
            records.ended(pool_worker, next(iter(pool_worker.batches)), now=0.0)
        elif step == "d":
            records.gone(workers.pop(which).number)
        running = [batch for one in records.workers for batch in one.batches.values()]
        assert records.inflight == sum(batch.unreported for batch in running)
        assert records.running.is_idle is not bool(running)
        for one in records.workers:
            batches = one.batches.values()
            assert one.worker.running.total() == sum(len(batch.reported) for batch in batches)


def connection(name: str) -> PoolConnection:
    """One of a pool. Any: nobody connects here."""
    return PoolConnection(name, "hooks", {}, Terms(5, 100, 2), None, cast(Any, None))
