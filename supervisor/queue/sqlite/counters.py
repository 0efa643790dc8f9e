"""What is counted for each connection: the columns of the table `books`, in order.

Owns their names, their places in a row, and the part of a row that users see. Must not know how
rows are stored or when they change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from supervisor.queue import ENDED, OUTCOMES, Books, Outcome

COUNTERS: Final = (
    "accepted",
    *ENDED,
    "pending",
    "retrying",
    "pending_bytes",
    "letters",
    "letter_bytes",
)
(
    ACCEPTED,
    FIRST_TRY,
    ON_RETRY,
    FAILED,
    UNSUPPORTED,
    FILTERED,
    QUARANTINED,
    PENDING,
    RETRYING,
    PENDING_BYTES,
    DEAD_LETTERS,
    DEAD_LETTER_BYTES,
) = range(len(COUNTERS))


_ENDED_AT = {
    outcome: (COUNTERS.index(row.first_try), COUNTERS.index(row.on_retry))
    for outcome, row in OUTCOMES.items()
}


def ended_at(outcome: Outcome, attempt: int) -> int:
    """The place of the counter of a delivery that ended so, at that attempt."""
    first_try, on_retry = _ENDED_AT[outcome]
    return first_try if attempt <= 1 else on_retry


def books_of(counted: Sequence[int]) -> Books:
    """Counters as what users see."""
    return Books(*counted[: PENDING + 1])


assert COUNTERS[: PENDING + 1] == Books.__struct_fields__
