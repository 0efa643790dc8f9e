"""The table of outcomes: complete, and what is told and counted comes from it."""

from __future__ import annotations

import pytest

from supervisor.queue import DEAD, ENDED, OUTCOMES, Books, Outcome, described


def test_every_outcome_has_a_row() -> None:
    """One without would be counted nowhere."""
    assert OUTCOMES.keys() == set(Outcome)


def test_books_have_a_field_for_each_counter() -> None:
    """In the order of the table, between what was accepted and what is pending."""
    assert Books.__struct_fields__ == ("accepted", *ENDED, "pending")


@pytest.mark.parametrize("counter", [*ENDED, "pending"])
def test_books_balance_whatever_became_of_a_delivery(counter: str) -> None:
    """One that was accepted is in one place; one place more is one too many."""
    assert Books(accepted=1, **{counter: 1}).is_balanced
    assert Books(**{counter: 1}).excess == 1
    assert Books(accepted=1).excess == -1


def test_dead_letters_are_those_that_went_wrong() -> None:
    """What is fine leaves nothing behind to be replayed."""
    assert DEAD == (Outcome.FAILED, Outcome.QUARANTINED)
    assert not any(OUTCOMES[outcome].is_fine for outcome in DEAD)


@pytest.mark.parametrize(
    ("outcome", "attempts", "text"),
    [
        (Outcome.DELIVERED, 1, "delivered on the first try"),
        (Outcome.DELIVERED, 3, "delivered on retry, attempt 3"),
        (Outcome.FAILED, 1, "failed after 1 attempt"),
        (Outcome.QUARANTINED, 2, "quarantined after 2 attempts: it kills its worker"),
        (Outcome.UNSUPPORTED, 0, OUTCOMES[Outcome.UNSUPPORTED].first_text),
        (Outcome.FILTERED, 0, OUTCOMES[Outcome.FILTERED].first_text),
    ],
)
def test_outcomes_in_words(outcome: Outcome, attempts: int, text: str) -> None:
    """As `bulkhead explain` prints them."""
    assert described(outcome, attempts) == text
