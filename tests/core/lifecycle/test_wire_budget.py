"""How much a worker may say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.lifecycle.wire_budget import (
    BYTES_PER_DELIVERY,
    BYTES_PER_S,
    FRAME_COST,
    MOST_EARNED,
    WireBudget,
)


@given(st.lists(st.integers(1, 1000), max_size=50))
def test_outcomes_of_every_delivery_fit(batches: list[int]) -> None:
    """A worker that says one long outcome for each delivery, at once, is within its budget."""
    budget = WireBudget()
    for size in batches:
        budget.given(size)
        assert budget.said(size * (BYTES_PER_DELIVERY - FRAME_COST), size, 0.0)


def test_flood_of_small_frames_is_stopped() -> None:
    """Frames that say nothing are stopped after some thousands, however small they are."""
    budget = WireBudget()
    frames = 0
    while budget.said(3, 1, 0.0):
        frames += 1
    assert 10_000 < frames < 20_000


def test_budget_fills_with_time() -> None:
    """Bytes within the rate are never too many, and silence saves up no more than the limit."""
    budget = WireBudget()
    assert all(budget.said(BYTES_PER_S // 2, 1, float(second)) for second in range(100))
    assert budget.said(0, 0, 10_000.0)
    assert budget.left == MOST_EARNED
    assert not budget.said(MOST_EARNED + 1, 0, 10_000.0)
