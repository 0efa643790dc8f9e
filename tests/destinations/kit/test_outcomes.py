"""From status to outcome, where the vendor's documentation says nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Delivered, Failed, Response, Retry
from destinations.kit.outcomes import MAX_VENDOR_WAIT_S, outcome_of_status, retry_after_s

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success(status: int) -> None:
    """2xx is delivered."""
    assert outcome_of_status(status, {}, "") == Delivered()


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504, 507, 599])
def test_retried(status: int) -> None:
    """What time may mend is tried again."""
    assert isinstance(outcome_of_status(status, {}, ""), Retry)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 410, 422, 501, 505])
def test_failed(status: int) -> None:
    """What no time mends has failed, redirects included."""
    assert isinstance(outcome_of_status(status, {}, ""), Failed)


def test_reason_quotes_the_server() -> None:
    """A reason holds the status, its name and what the server said, on one line."""
    assert Response(400, {}, b"bad\n\x00 thing").outcome() == Failed("400 Bad Request: bad   thing")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("9" * 5000, MAX_VENDOR_WAIT_S),
        ("60.5", 60.5),
        ("+60", 60.0),
        ("60s", 60.0),
        ("60 Seconds", 60.0),
        ("60, 60", 60.0),
        ("60,90 , 30", 90.0),
        ("'60'", 60.0),
        ("0" * 40 + "60", 60.0),
        ("Sunday, 22-Nov-26 12:01:00 GMT", 60.0),
        ("Sun Nov 22 12:01:00 2026", 60.0),
        ("2026-11-22T12:01:00Z", 60.0),
        ("2026-11-22T14:01:00.5+02:00", 60.5),
        ("2026-11-22 12:01:00", 60.0),
        ("9999-01-01T00:00:00Z", MAX_VENDOR_WAIT_S),
        ("0001-01-01T00:00:00+14:00", 0.0),
        ("soon", None),
        ("60m", None),
        ("60, soon", None),
        ("1e3", None),
        ("٦٠", None),
        (",", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Retry-After is seconds or a date, never more than a day, and nonsense is nothing."""
    assert retry_after_s(value, NOW) == seconds


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_retry_after_never_raises(value: str) -> None:
    """No header makes reading it raise, and none gives a negative wait."""
    seconds = retry_after_s(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_VENDOR_WAIT_S


def test_html_for_json_says_so() -> None:
    """A page where JSON was due is a retry that names it."""
    said = Response(200, {}, b"<!DOCTYPE html><title>Log in</title>").not_json()
    assert isinstance(said, Retry)
    assert "HTML page" in said.reason
