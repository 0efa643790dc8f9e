"""Whose name is on the record of a worker's end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.effects import BatchFate
from supervisor.core.isolation.facts import RunningMark
from supervisor.core.scheduling.scheduler import Terms
from supervisor.delivery.exit_record import exit_record, with_fates
from supervisor.delivery.isolation import worker_died
from supervisor.delivery.records import PoolConnection
from supervisor.diagnostics.exits import MAX_BATCHES, HeldBatch
from supervisor.workers.handle import Exit, Mark
from tests.delivery.handles import StillWorker, a_batch, member


@pytest.mark.parametrize("owner", [None, "a"])
@pytest.mark.parametrize("worked", ["a", "ab"])
@pytest.mark.parametrize("reason", [ExitReason.PROTOCOL, ExitReason.CRASH])
def test_what_a_worker_says_names_nobody_beside_others(
    reason: ExitReason, worked: str, owner: str | None
) -> None:
    """Any code in it may have said it, whoever has a batch or runs then: its own connection is
    named, or the only one that was ever there. A death names whose step ran."""
    pool_worker = member(StillWorker(1))
    nobody: Any = None  # Any: nothing connects here
    connection = PoolConnection("c", "hooks", {}, Terms(5, 100, 2), None, nobody)
    pool_worker.configured.update(dict.fromkeys(worked, connection))
    pool_worker.batches[7] = a_batch(7)
    mark = Mark("a", 7, 0, is_running=True)
    record = exit_record("p", pool_worker, owner, Exit(reason, "", True, 0.0, None, mark, "", "a"))
    is_unknown = reason is ExitReason.PROTOCOL and worked == "ab" and owner is None
    assert record.connection == (None if is_unknown else "a")
    assert record.connections == ("a",)


def test_kill_from_outside_names_nobody() -> None:
    """What ran then, and who had the worker, has nothing to do with it; what was lost is told."""
    pool_worker = member(StillWorker(1))
    pool_worker.batches[7] = a_batch(7)
    end = Exit(ExitReason.SIGNAL, "SIGKILL", True, 0.0, None, Mark("a", 7, 0, True), "", "a")
    record = exit_record("p", pool_worker, "a", end, is_outsiders=True)
    assert (record.connection, record.destination) == (None, None)
    assert (record.connections, record.unreported) == (("a",), 3)


@pytest.mark.parametrize("hinted", [7, 6, None])
def test_who_is_tried_first_of_several_is_no_name_on_the_record(hinted: int | None) -> None:
    """Nor is the event that ran; where its batch has ended, another of that connection's is it."""
    pool_worker = member(StillWorker(1))
    nobody: Any = None  # Any: nothing connects here
    connection = PoolConnection("c", "hooks", {}, Terms(5, 100, 2), None, nobody)
    pool_worker.configured.update(dict.fromkeys("ab", connection))
    pool_worker.batches[7] = a_batch(7)
    pool_worker.ended = frozenset("b")
    if hinted is not None:
        pool_worker.hint = Mark("a", hinted, 0, is_running=True)
    end = Exit(ExitReason.LIMIT, "", True, 0.0, None, is_anybodys=True)
    record = exit_record("p", pool_worker, None, end)
    assert (record.connection, record.event) == (None, None)
    died = worker_died(pool_worker, end, is_ours=False)
    marks = {7: RunningMark("a", 7, 0), 6: RunningMark("a", 7), None: None}
    assert died.mark == marks[hinted]
    assert died.ended == {"b"}
    other = worker_died(pool_worker, replace(end, is_anybodys=False), is_ours=False)
    assert (other.mark, other.ended) == (None, frozenset())


def test_what_became_of_each_batch_is_on_the_record() -> None:
    """What its worker had told of at first, and then what was decided of the rest."""
    pool_worker = member(StillWorker(1))
    pool_worker.batches = {7: a_batch(7), 8: a_batch(8)}
    told = pool_worker.batches[7]
    told.reported[0], told.delivered = 1, 1
    end = Exit(ExitReason.SIGNAL, "SIGSEGV", True, 0.0, None)
    record = exit_record("p", pool_worker, None, end)
    first = HeldBatch(batch=7, connection="a", events=3, delivered=1)
    assert record.batches == (first, HeldBatch(batch=8, connection="a", events=3))
    fates = (BatchFate(8, sent_again=3), BatchFate(7, tried_alone=1, quarantined=1))
    assert with_fates(fates, record.batches) == (
        HeldBatch(batch=7, connection="a", events=3, delivered=1, tried_alone=1, quarantined=1),
        HeldBatch(batch=8, connection="a", events=3, sent_again=3),
    )
    assert with_fates((), record.batches) == record.batches


def test_more_batches_than_a_record_holds_are_counted() -> None:
    """A worker says itself how many it takes."""
    pool_worker = member(StillWorker(1))
    pool_worker.batches = {n: a_batch(n) for n in range(MAX_BATCHES + 7)}
    record = exit_record("p", pool_worker, None, Exit(ExitReason.OOM, "", True, 0.0, None))
    assert (len(record.batches), record.more_batches) == (MAX_BATCHES, 7)
