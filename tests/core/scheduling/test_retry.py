"""When to try again, and when to give up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.scheduling.retry import RetryPolicy, backoff_s, next_attempt_s

POLICY = RetryPolicy(window_s=3600.0, first_delay_s=1.0, max_delay_s=600.0)


def test_backoff_doubles_up_to_its_limit() -> None:
    """Without jitter the delays are half of 1, 2, 4, … up to the limit."""
    delays = [backoff_s(POLICY, attempt, 0.0) for attempt in (1, 2, 3, 10, 11, 5000)]
    assert delays == [0.5, 1.0, 2.0, 256.0, 300.0, 300.0]


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_jitter_spreads_over_the_upper_half(attempt: int, jitter: float) -> None:
    """A delay lies between half of its full length and all of it."""
    full = min(2.0 ** min(attempt - 1, 62), 600.0)
    assert full / 2 <= backoff_s(POLICY, attempt, jitter) <= full


@given(
    attempt=st.integers(1, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    since=st.floats(0, 10_000),
    after=st.none() | st.floats(0, 10_000),
)
def test_attempts_stay_in_the_window(
    attempt: int, jitter: float, since: float, after: float | None
) -> None:
    """The next attempt is never past the window, nor within it before what Retry-After asks for."""
    delay = next_attempt_s(
        POLICY, attempt=attempt, jitter=jitter, since_first_s=since, retry_after_s=after
    )
    if delay is None:
        assert since >= 3600.0
    else:
        assert since + delay <= 3600.0 * (1 + 1e-9)
        assert after is None or delay >= after or since + delay >= 3600.0 * (1 - 1e-9)


def test_a_wish_that_is_longer_than_the_window_costs_no_attempt() -> None:
    """Where a destination wants to be let alone for longer, the last attempt ends the window."""
    for after in (3600.1, 86400.0):
        delay = next_attempt_s(
            POLICY, attempt=1, jitter=0.0, since_first_s=10.0, retry_after_s=after
        )
        assert delay == 3590.0


def test_last_attempt_is_made_when_the_window_closes() -> None:
    """A back-off that reaches past the window is cut short for one last attempt."""
    assert next_attempt_s(
        POLICY, attempt=20, jitter=0.0, since_first_s=3500.0, retry_after_s=None
    ) == 100.0  # fmt: skip
