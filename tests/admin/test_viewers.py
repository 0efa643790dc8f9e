"""What a viewer is shown is counted as it is shown."""

from __future__ import annotations

from supervisor.admin.dead_letters import Filter
from supervisor.admin.viewers import letter_causes
from supervisor.queue import DeadLetterCause, DeadLetterCauses, Outcome


def letters(cause: str, count: int, first_at: float, connection: str = "hook") -> DeadLetterCause:
    """So many of one cause, over ten seconds."""
    return DeadLetterCause(connection, Outcome.FAILED, cause, count, first_at, first_at + 10)


def test_causes_that_differ_in_a_strangers_words_are_one() -> None:
    """With their sum and the whole of their time; the most first, the rest told as more."""
    told = [
        letters("no such user Quux", 3, 50.0),
        letters("no such user Quuz", 4, 20.0),
        letters("no such user Quux", 5, 40.0, "other"),
        letters("timeout", 1, 1.0),
    ]
    shown = letter_causes(DeadLetterCauses(told, 14, 1, is_whole=False), 2)
    assert list(shown.causes) == [
        DeadLetterCause("hook", Outcome.FAILED, "no such user \u2026", 7, 20.0, 60.0),
        DeadLetterCause("other", Outcome.FAILED, "no such user \u2026", 5, 40.0, 50.0),
    ]
    assert (shown.total, shown.more, shown.is_whole) == (14, 2, False)


def test_a_line_of_what_was_done_has_no_word_of_a_partner() -> None:
    """It stands in the log and in Activity, which viewers read."""
    words = Filter(connection="hook", cause="no such user Quux", error="Quux").in_words()
    assert words == "connection=hook, error=(a text), cause=no such user \u2026"
