"""What each disposition does: to the counts in memory, and to the books with the next commit."""

from __future__ import annotations

import pytest

from supervisor.queue import (
    DeadLettered,
    Delivered,
    Disposition,
    Outcome,
    Postpone,
    Release,
    Unsupported,
)
from supervisor.queue.sqlite.counters import (
    COUNTERS,
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    FAILED,
    FIRST_TRY,
    ON_RETRY,
    PENDING,
    PENDING_BYTES,
    QUARANTINED,
    RETRYING,
    UNSUPPORTED,
)
from supervisor.queue.sqlite.dead_letters import DEAD_LETTER_OVERHEAD
from supervisor.queue.sqlite.settlement import GONE
from tests.queue.given import T0, event
from tests.queue.sqlite.table import Table

SIZE = len(event("m0").body)
_LETTER = {DEAD_LETTERS: 1, DEAD_LETTER_BYTES: SIZE + DEAD_LETTER_OVERHEAD}
_ENDED = {PENDING: -1, PENDING_BYTES: -SIZE}
_RETRY_ENDED = {**_ENDED, RETRYING: -1}

#: Of a fresh delivery: fresh, retrying and leased afterwards, and how the books change.
FRESH: list[tuple[Disposition, tuple[int, int, int], dict[int, int]]] = [
    (Delivered(), (0, 0, 0), {FIRST_TRY: 1, **_ENDED}),
    (Unsupported(), (0, 0, 0), {UNSUPPORTED: 1, **_ENDED}),
    (DeadLettered(Outcome.FAILED, "no"), (0, 0, 0), {FAILED: 1, **_ENDED, **_LETTER}),
    (DeadLettered(Outcome.QUARANTINED, "x"), (0, 0, 0), {QUARANTINED: 1, **_ENDED, **_LETTER}),
    (Postpone(5.0, "busy"), (0, 1, 0), {RETRYING: 1}),
    (Release(), (1, 0, 0), {}),
]
#: The same of a retry.
RETRY: list[tuple[Disposition, tuple[int, int, int], dict[int, int]]] = [
    (Delivered(), (0, 0, 0), {ON_RETRY: 1, **_RETRY_ENDED}),
    (Unsupported(), (0, 0, 0), {UNSUPPORTED: 1, **_RETRY_ENDED}),
    (DeadLettered(Outcome.FAILED, "no"), (0, 0, 0), {FAILED: 1, **_RETRY_ENDED, **_LETTER}),
    (
        DeadLettered(Outcome.QUARANTINED, "x"),
        (0, 0, 0),
        {QUARANTINED: 1, **_RETRY_ENDED, **_LETTER},
    ),
    (Postpone(5.0, "busy"), (0, 1, 0), {}),
    (Release(), (0, 1, 0), {}),
]


def counts(table: Table) -> tuple[int, int, int]:
    """Fresh, retrying and leased."""
    return table.backlog.fresh, table.backlog.retrying, table.backlog.leased


def changes(table: Table, before: dict[int, int] | None = None) -> dict[int, int]:
    """The counters that change with the next commit, less what changed before."""
    known = before or {}
    found = {n: table.delta(n) - known.get(n, 0) for n in range(len(COUNTERS))}
    return {n: delta for n, delta in found.items() if delta}


@pytest.mark.parametrize(("disposition", "after", "deltas"), FRESH)
def test_fresh_delivery(
    disposition: Disposition, after: tuple[int, int, int], deltas: dict[int, int]
) -> None:
    """What ends is settled in its chunk, and so is what has become a retry or a dead letter."""
    table = Table()
    lease = table.leased("m0")
    table.leases.settle(lease, [(0, disposition)], table.journal, T0)
    assert counts(table) == after
    assert changes(table) == deltas
    assert bool(table.journal.finished) == (not isinstance(disposition, Release))
    is_retry = isinstance(disposition, Postpone)
    assert table.memory.usage.retries == (SIZE if is_retry else 0)
    table.memory.check(table.leases.undecided())


@pytest.mark.parametrize(("disposition", "after", "deltas"), RETRY)
def test_retry(
    disposition: Disposition, after: tuple[int, int, int], deltas: dict[int, int]
) -> None:
    """A retry that ends leaves the disk; one that does not keeps its row."""
    table = Table()
    table.leases.settle(table.leased("m0"), [(0, Postpone(1.0, "busy"))], table.journal, T0)
    before = changes(table)
    table.leases.settle(table.leased_retry(T0 + 1), [(0, disposition)], table.journal, T0 + 1)
    assert counts(table) == after
    assert changes(table, before) == deltas
    has_ended = PENDING in deltas
    assert len(table.journal.ended_retries) == has_ended
    assert table.memory.usage.retries == (0 if has_ended else SIZE)
    table.memory.check(table.leases.undecided())


def test_all_delivered_at_once_is_the_same_as_one_by_one() -> None:
    """The quick way and the slow way leave memory and journal alike."""
    quick, slow = Table(), Table()
    lease = quick.leased("m0", "m1", "m2")
    quick.leases.settle(lease, [(n, Delivered()) for n in range(3)], quick.journal, T0)
    lease = slow.leased("m0", "m1", "m2")
    for n in (2, 0, 1):
        slow.leases.settle(lease, [(n, Delivered())], slow.journal, T0)
    assert changes(quick) == changes(slow)
    assert counts(quick) == counts(slow) == (0, 0, 0)
    assert len(quick.journal.finished) == len(slow.journal.finished) == 1


@pytest.mark.parametrize(
    ("disposition", "reason"),
    [(Release(), GONE), (Postpone(1.0, "busy"), f"{GONE}; last error: busy")],
)
def test_connection_that_left_the_config_waits_for_nothing(
    disposition: Disposition, reason: str
) -> None:
    """What would wait is a dead letter, with the reason and the last error."""
    table = Table()
    lease = table.leased("m0")
    table.backlog.spec = None
    table.leases.settle(lease, [(0, disposition)], table.journal, T0)
    assert changes(table) == {FAILED: 1, **_ENDED, **_LETTER}
    ((_, columns),) = table.journal.statements
    assert reason in columns
