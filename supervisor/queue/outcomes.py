"""How a delivery may end: one row for each outcome, from which counters, labels and texts come.

Owns the outcomes and what holds for each of them. A new one is a row here, a field of `Books` by
its counter's name, and what the type checker then finds. Must not know how anything is stored.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Outcome(enum.StrEnum):
    """How a delivery ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    FILTERED = "filtered"
    QUARANTINED = "quarantined"


class OutcomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one outcome.

    `first_try` and `on_retry` are the counters of the books, for a delivery that ended at its first
    attempt and later. `is_dead_letter`: it is kept, and may be replayed. `is_fine`: nothing is
    wrong with event, settings or destination. `first_text` and `retry_text` are for users;
    `{attempts}` in them is "3 attempts" and the like, `{n}` their number.
    """

    first_try: str
    on_retry: str
    is_dead_letter: bool = False
    is_fine: bool = False
    first_text: str
    retry_text: str


def _row(
    counter: str, text: str, *, is_dead_letter: bool = False, is_fine: bool = False
) -> OutcomeRow:
    """One that is counted and told the same whatever attempt it ended at."""
    return OutcomeRow(
        first_try=counter,
        on_retry=counter,
        is_dead_letter=is_dead_letter,
        is_fine=is_fine,
        first_text=text,
        retry_text=text,
    )


OUTCOMES: Mapping[Outcome, OutcomeRow] = {
    Outcome.DELIVERED: OutcomeRow(
        first_try="delivered_first_try",
        on_retry="delivered_on_retry",
        is_fine=True,
        first_text="delivered on the first try",
        retry_text="delivered on retry, attempt {n}",
    ),
    Outcome.FAILED: _row("failed", "failed after {attempts}", is_dead_letter=True),
    Outcome.UNSUPPORTED: _row(
        "unsupported",
        "unsupported: the destination has no use for this type of event",
        is_fine=True,
    ),
    Outcome.FILTERED: _row(
        "filtered",
        "filtered: by the event's integrations object, or the connection is disabled",
        is_fine=True,
    ),
    Outcome.QUARANTINED: _row(
        "quarantined", "quarantined after {attempts}: it kills its worker", is_dead_letter=True
    ),
}

#: Those that leave a dead letter, in order.
DEAD = tuple(outcome for outcome, row in OUTCOMES.items() if row.is_dead_letter)
#: Counters of the books that an outcome has, in the order of `Books`.
ENDED = tuple(
    dict.fromkeys(name for row in OUTCOMES.values() for name in (row.first_try, row.on_retry))
)


def described(outcome: Outcome, attempts: int) -> str:
    """An outcome in words, after so many attempts."""
    row = OUTCOMES[outcome]
    text = row.first_text if attempts <= 1 else row.retry_text
    counted = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return text.format(attempts=counted, n=attempts)
