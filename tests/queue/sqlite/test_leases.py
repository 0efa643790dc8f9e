"""A lease holds what it took until it is decided or over, and nothing is decided twice."""

from __future__ import annotations

import pytest

from supervisor.queue import (
    DeadLettered,
    Delivered,
    Disposition,
    LeaseExpired,
    Outcome,
    Postpone,
    Release,
)
from supervisor.queue.sqlite.counters import DEAD_LETTERS, FIRST_TRY, PENDING
from tests.queue.given import T0, ids_in
from tests.queue.sqlite.table import TERM_S, Table


def test_lease_takes_the_oldest_and_leaves_the_rest() -> None:
    """Over several chunks, in the order in which they came, each delivery once."""
    table = Table()
    table.store("m0", "m1", "m2")
    table.store("m3", "m4")
    assert ids_in(table.lease(4)) == ["m0", "m1", "m2", "m3"]
    assert ids_in(table.lease()) == ["m4"]
    assert table.lease() is None
    assert (table.backlog.fresh, table.backlog.leased) == (0, 5)
    table.memory.check(table.leases.undecided())


def test_first_disposition_of_a_delivery_counts() -> None:
    """Also within one call; the lease is over when all of it is decided."""
    table = Table()
    lease = table.leased("m0", "m1")
    refused = DeadLettered(Outcome.FAILED, "no")
    table.leases.settle(lease, [(0, Delivered()), (0, refused)], table.journal, T0)
    table.leases.settle(lease, [(0, refused), (1, Delivered())], table.journal, T0)
    assert (table.delta(FIRST_TRY), table.delta(PENDING), table.delta(DEAD_LETTERS)) == (2, -2, 0)
    with pytest.raises(LeaseExpired):
        table.leases.settle(lease, [(0, Delivered())], table.journal, T0)
    assert not table.leases.undecided()


def test_index_that_does_not_exist_decides_nothing() -> None:
    """The whole call is refused before any of it is done."""
    table = Table()
    lease = table.leased("m0")
    for index in (-1, 1):
        dispositions = [(0, Delivered()), (index, Delivered())]
        with pytest.raises(IndexError, match="has no delivery"):
            table.leases.settle(lease, dispositions, table.journal, T0)
    assert table.journal.is_empty
    assert table.backlog.leased == 1


def test_overdue_lease_gives_back_what_is_undecided() -> None:
    """In its old place, uncharged; what is decided stays so."""
    table = Table()
    lease = table.leased("m0", "m1", "m2")
    table.leases.settle(lease, [(1, Delivered())], table.journal, T0)
    assert table.leases.next_expiry == T0 + TERM_S
    table.leases.expire(table.journal, T0 + TERM_S - 1)
    assert table.backlog.fresh == 0
    table.leases.expire(table.journal, T0 + TERM_S)
    assert table.work == ["a", "a"]
    with pytest.raises(LeaseExpired):
        table.leases.extend(lease, T0 + 1000)
    assert ids_in(table.lease(now=T0 + TERM_S)) == ["m0", "m2"]
    table.memory.check(table.leases.undecided())


def test_extended_lease_holds_until_its_new_end() -> None:
    """The old end passes without a word."""
    table = Table()
    lease = table.leased("m0")
    table.leases.extend(lease, T0 + 3 * TERM_S)
    table.leases.expire(table.journal, T0 + 2 * TERM_S)
    assert table.backlog.leased == 1
    table.leases.expire(table.journal, T0 + 3 * TERM_S)
    assert table.backlog.leased == 0
    assert table.leases.next_expiry is None


def test_lease_that_is_over_is_not_waited_for() -> None:
    """Its end is forgotten with the next lease."""
    table = Table()
    done = table.leased("m0")
    table.leases.settle(done, [(0, Delivered())], table.journal, T0)
    table.store("m1")
    table.lease(now=T0 + 5)
    assert table.leases.next_expiry == T0 + 5 + TERM_S


def test_undecided_is_counted_by_connection() -> None:
    """Fresh deliveries and retries alike."""
    table = Table()
    lease = table.leased("m0", "m1")
    later: list[tuple[int, Disposition]] = [(0, Postpone(1.0, "busy")), (1, Release())]
    table.leases.settle(lease, later, table.journal, T0)
    assert not table.leases.undecided()
    table.leased_retry(T0 + 1)
    table.lease(now=T0 + 1)
    assert table.leases.undecided() == {table.backlog.id: 2}
    table.memory.check(table.leases.undecided())
