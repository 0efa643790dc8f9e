"""Reasons become causes: a table of real ones, and what holds of any."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.causes import (
    CACHED,
    MAX_CAUSE,
    MAX_LOOKED_AT,
    NO_REASON,
    cause_of,
    known_cause,
    remedy_of,
)

#: Reasons as destinations, the sandbox, the queue, intake and partners' documentation word them,
#: the cause that each is one of, and what that means; a line each, by tabs.
TABLE = [
    line.split("\t")
    for line in Path(__file__).with_name("reasons.tsv").read_text(encoding="utf-8").splitlines()
]

#: What opens one of the parts that are looked for, or stands within one.
PIECES = (
    *('"', "'", "`", ": ", "; ", "refused it: ", "error ", "code ", "Errno ", "404", "12345"),
    *("a1b2", "<id>", "<n>", "<", ">", "<b>", "=", "a=b", "/x/y", "http://a.b/c", "x@y.z"),
    *("10.0.0.1", "::1", " ", ".", ",", "-", "word", '"message": "', "{", "}", "0x12", "%"),
    *("2026-01-01", "12:30", "HTTP/1.1", "CONTACT-6", "example.com", ":80", "1,2", "a" * 50),
    *("\u00e9", "\u4e2d", "\u202e", "last error: ", "[", "]", "\ud800"),
)


@pytest.mark.parametrize(("reason", "cause", "meaning"), TABLE)
def test_real_reasons_have_the_cause_that_others_of_their_kind_have(
    reason: str, cause: str, meaning: str
) -> None:
    """Ids, numbers, addresses, times and values go; statuses, codes and words stay."""
    assert cause_of(reason) == cause
    assert remedy_of(cause).meaning == meaning


def test_the_table_is_of_real_reasons_and_large() -> None:
    """A hundred at least, nearly all of which have a remedy of their own."""
    assert len(TABLE) >= 100
    assert sum("none of the causes" in meaning for _, _, meaning in TABLE) <= 5


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=120).map("".join))
def test_a_cause_is_its_own_cause(reason: str) -> None:
    """So that what was stored as a cause is found by it; one line, no control or bidi character."""
    cause = cause_of(reason)
    assert cause_of(cause) == cause
    assert 0 < len(cause) <= MAX_CAUSE
    assert cause.encode()
    assert not any(ord(c) < 32 or c in "\u202e\u2066\u200b\ufeff" for c in cause)


@pytest.mark.parametrize(
    "piece",
    [*PIECES, "(" * 9, "a.", "1 ", "/a", "a@", "0:", "a:", "<a ", "x==", "1,", "_", "a-", "aA+/"],
)
def test_hostile_reasons_cost_what_their_length_says(piece: str) -> None:
    """Twice as long is about twice as dear, and past what is looked at it costs nothing more."""
    reason = (piece * MAX_LOOKED_AT)[:MAX_LOOKED_AT]

    def cost_s(text: str) -> float:
        best = 1.0
        for n in range(5):
            started = time.thread_time()
            cause_of(f"{n}{text}"[:MAX_LOOKED_AT])
            best = min(best, time.thread_time() - started)
        return best

    half, whole = cost_s(reason[: MAX_LOOKED_AT // 2]), cost_s(reason)
    assert whole < 3.5 * half + 0.0005
    assert whole < 0.02
    assert cause_of(reason * 1000) == cause_of(reason)


def test_reasons_are_remembered_within_bounds() -> None:
    """What was met is found again; a flood of others makes no memory grow."""
    assert cause_of("") == NO_REASON
    cause_of("500 Internal Server Error: once")
    assert known_cause("500 Internal Server Error: once") is not None
    for n in range(2 * CACHED):
        cause_of(f"a reason that nobody has met before {n}")
    assert known_cause("500 Internal Server Error: once") is None
    assert known_cause("never met") is None


def test_a_reason_that_was_met_costs_half_a_microsecond() -> None:
    """They repeat: that is what they cost on the way of every failure."""
    reason = "503 Service Unavailable: later"
    best = 1.0
    for _ in range(7):
        started = time.thread_time()
        for _ in range(10_000):
            cause_of(reason)
        best = min(best, time.thread_time() - started)
    assert best / 10_000 < 0.5e-6
