"""The one histogram of latencies: what is taken of it, and what Prometheus gets of it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor.telemetry.latencies import BOUNDS_S, Latencies, quantile_s

AGES = st.lists(st.floats(0.0005, 20_000), min_size=1, max_size=50)


@given(AGES, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_right_to_a_step(ages: list[float], share: float) -> None:
    """A step is 19 %; below a millisecond and past the last bound, it is that bound."""
    latencies = Latencies("name", "text")
    latencies.observe_ages("a", [-age for age in ages], 0.0)
    found = quantile_s(latencies.taken("a"), share)
    exact = sorted(ages)[max(0, math.ceil(share * len(ages)) - 1)]
    assert found is not None
    assert found <= BOUNDS_S[-1]
    if BOUNDS_S[0] < exact < BOUNDS_S[-1]:
        assert exact / 1.2 <= found <= exact * 1.2


@given(AGES, AGES)
def test_what_is_taken_is_taken_once_and_stays_in_the_text(
    before: list[float], after: list[float]
) -> None:
    """Each delivery is taken by one minute, and Prometheus goes on counting all of them."""
    latencies = Latencies("name", "text")
    latencies.observe_ages("a", [-age for age in before], 0.0)
    assert sum(latencies.recent("a")[1::2]) == len(before)
    assert sum(latencies.taken("a")[1::2]) == len(before)
    assert latencies.taken("a") == []
    latencies.observe_ages("a", [-age for age in after], 0.0)
    assert sum(latencies.taken("a")[1::2]) == len(after)
    text = "".join(latencies.text())
    assert f'name_count{{connection="a"}} {len(before) + len(after)}.0' in text


def test_nothing_has_no_quantile() -> None:
    """Of a connection that delivered nothing there is none."""
    assert Latencies("name", "text").taken("nobody") == []
    assert quantile_s([], 0.5) is None


def test_a_bucket_does_not_overflow() -> None:
    """A busy connection counts past 16 bits in a minute, and where nobody takes, past any."""
    latencies = Latencies("name", "text")
    latencies.observe_ages("a", [-1.0] * 100_000, 0.0)
    assert latencies.recent("a")[1] == 100_000
    assert latencies.taken("a")[1] == 100_000
    latencies.observe_ages("a", [-1.0], 0.0)
    assert latencies.recent("a")[1] == 1
    assert 'name_count{connection="a"} 100001.0' in "".join(latencies.text())
