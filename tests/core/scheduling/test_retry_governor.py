"""Retries go no faster than the destination has proven to take."""

from __future__ import annotations

import itertools

import pytest

from supervisor.core.scheduling.retry_governor import (
    AT_ONCE_S,
    LEAST_AT_ONCE,
    LEAST_PER_S,
    MOST_UNPROVEN_PER_S,
    RetryGovernor,
)


def drain(governor: RetryGovernor, start: float, seconds: int, fresh_per_s: int) -> list[int]:
    """Retries that went in each second, with all of them taken, beside first attempts."""
    sent = []
    for second in range(seconds):
        n = 0
        for tick in range(20):
            now = start + second + tick / 20
            governor.delivered(fresh_per_s // 20, retries=False, now=now)
            while governor.wait_s(1000, now) <= 0:
                some = min(1000, governor.allowance)
                governor.spend(some)
                governor.delivered(some, retries=True, now=now)
                n += some
        sent.append(n)
    return sent


def test_silence_proves_nothing() -> None:
    """A few at once, and then a few a second."""
    governor = RetryGovernor()
    assert governor.rate(0.0) == LEAST_PER_S
    assert sum(drain(governor, 0.0, 1, 0)) <= LEAST_AT_ONCE + 2 * LEAST_PER_S


@pytest.mark.parametrize("fresh_per_s", [0, 20])
def test_retries_alone_prove_what_they_are(fresh_per_s: int) -> None:
    """They grow by a tenth a second up to a rate that is no flood, and a thousand are soon over."""
    sent = drain(RetryGovernor(), 0.0, 60, fresh_per_s)
    assert all(after <= before * 1.2 + 10 for before, after in itertools.pairwise(sent))
    assert max(sent) <= MOST_UNPROVEN_PER_S
    assert sent[-1] >= 0.8 * MOST_UNPROVEN_PER_S
    assert sum(sent) > 2500


def test_begins_with_a_tenth_and_grows_by_a_tenth_a_second() -> None:
    """After an outage the ramp is long enough to be seen, and short enough to be over."""
    governor = RetryGovernor()
    for second in range(10):
        governor.delivered(1000, retries=False, now=second + 0.5)
    assert governor.rate(10.0) == pytest.approx(100.0)
    sent = drain(governor, 10.0, 60, 1000)
    assert sent[0] <= 220
    assert all(after <= before * 1.2 + 10 for before, after in itertools.pairwise(sent[1:]))
    assert sent[-1] >= 900


def test_never_exceeds_what_is_taken() -> None:
    """Retries are at most as many as all that was taken in the best of the last seconds."""
    governor = RetryGovernor()
    taken = [0] * 200
    for second in range(200):
        for tick in range(10):
            now = second + tick / 10
            allowed = governor.rate(now)
            proven = max([*taken[max(0, second - 10) : second], 0])
            assert allowed <= max(LEAST_PER_S, proven)
            governor.delivered(5, retries=False, now=now)
            taken[second] += 5
            if governor.wait_s(100, now) <= 0:
                some = min(100, governor.allowance)
                governor.spend(some)
                governor.delivered(some, retries=True, now=now)
                taken[second] += some


@pytest.mark.parametrize("quiet_s", [0.0, 1.0, 5.0])
def test_no_second_has_more_retries_than_were_proven(quiet_s: float) -> None:
    """Not even the first one after a while in which no retry was due: savings count, too."""
    governor = RetryGovernor()
    for second in range(10):
        governor.delivered(100, retries=True, now=second + 0.5)
    governor.wait_s(100, 10.0)
    governor.spend(governor.allowance)
    sent = 0
    for tick in range(1000):
        now = 10.0 + quiet_s + tick / 1000
        while governor.wait_s(100, now) <= 0:
            some = governor.allowance
            governor.spend(some)
            sent += some
    assert 80 <= sent <= governor.proven(10.0 + quiet_s)


def test_what_was_proven_is_forgotten() -> None:
    """The rate of before an outage says nothing after it."""
    governor = RetryGovernor()
    governor.delivered(10_000, retries=True, now=0.0)
    assert governor.rate(5.0) == 10_000 / (1 + AT_ONCE_S)
    assert governor.rate(30.0) == LEAST_PER_S
