"""Retries come in the order of their time, however few of them memory holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.queue.sqlite import retry_heap
from supervisor.queue.sqlite.retry_heap import RetryBudget, RetryEntry, RetryHeap

WINDOW = 4


def entries(times: list[int]) -> list[RetryEntry]:
    """Retries that are due then, numbered in their order."""
    return [(float(at), number, False, 1.0) for number, at in enumerate(times)]


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 5))
def test_heap_and_disk_give_each_retry_once_and_in_order(times: list[int], most: int) -> None:
    """What is beyond the horizon is read from the disk once memory has run out of the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry_heap, "RETRY_WINDOW", WINDOW)
        budget = RetryBudget()
        heap = RetryHeap(budget)
        disk = {entry[1]: entry for entry in entries(times)}
        for entry in disk.values():
            heap.plan(entry)
        assert budget.loaded <= 2 * WINDOW
        heap.forget_beyond(unwritten=())
        taken: list[RetryEntry] = []
        while True:
            some = heap.take_due(100.0, most)
            for entry in some:
                del disk[entry[1]]
            taken += some
            if heap.is_empty:
                after = heap.horizon
                if after is None:
                    break
                rows = sorted(entry for entry in disk.values() if entry[:2] > after)[:WINDOW]
                heap.refill(rows, is_all=len(rows) < WINDOW, elsewhere=())
        assert [entry[0] for entry in taken] == sorted(float(at) for at in times)
        assert not disk
        assert budget.loaded == 0


def test_retry_that_goes_alone_comes_alone() -> None:
    """It is not leased with others, and holds none of them up."""
    heap = RetryHeap(RetryBudget())
    alone, other = (1.0, 1, True, 0.0), (2.0, 2, False, 0.0)
    heap.plan(alone)
    heap.plan(other)
    assert heap.take_due(5.0, 10) == [alone]
    heap.put_back(alone)
    later = (0.5, 3, False, 0.0)
    heap.plan(later)
    assert heap.take_due(5.0, 10) == [later, other]
    assert heap.take_due(5.0, 10) == [alone]


def test_what_ended_or_is_leased_does_not_come_back_from_the_disk() -> None:
    """A read may be older than what was done meanwhile."""
    heap = RetryHeap(RetryBudget())
    heap.refill(entries([1, 2, 3]), is_all=True, elsewhere={1})
    assert [entry[1] for entry in heap.take_due(5.0, 10)] == [0, 2]
