"""When to try again, and when to give up. Pure: jitter and time are arguments.

Back-off is exponential with jitter in the manner of "decorrelated" retries:
half of the delay is fixed, half is drawn, so that deliveries which failed
together do not come back together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`window_s` runs from the first attempt; delays double from `first_delay_s`."""

    window_s: float
    first_delay_s: float
    max_delay_s: float


def backoff_s(policy: RetryPolicy, attempt: int, jitter: float) -> float:
    """Seconds to wait after the `attempt`-th attempt (from 1) failed; `jitter` in [0, 1)."""
    exponent = min(attempt - 1, 62)
    full = min(policy.first_delay_s * 2.0**exponent, policy.max_delay_s)
    return full * (0.5 + 0.5 * jitter)


def next_attempt_s(
    policy: RetryPolicy,
    *,
    attempt: int,
    jitter: float,
    since_first_s: float,
    retry_after_s: float | None,
) -> float | None:
    """Seconds until the next attempt, or None where the window is over.

    `since_first_s` seconds have passed since the first attempt. The window is
    judged when an attempt has failed, never while one waits: after an outage of
    Bulkhead itself every delivery still gets its attempt. `retry_after_s` is what
    the destination asked for; it is obeyed even past `max_delay_s`. Where that or
    the back-off leads past the window, there is one last attempt when it closes.
    """
    left = policy.window_s - since_first_s
    if left <= 0:
        return None
    delay = backoff_s(policy, attempt, jitter)
    if retry_after_s is not None:
        delay = max(delay, retry_after_s)
    return min(delay, left)
