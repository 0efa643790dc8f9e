"""How much a worker may say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.lifecycle.wire_budget import (
    BYTES_PER_DELIVERY,
    BYTES_PER_S,
    FRAME_COST,
    MOST_EARNED,
    LineAllowance,
    WireBudget,
)


@given(st.lists(st.integers(1, 1000), max_size=50))
def test_outcomes_of_every_delivery_fit(batches: list[int]) -> None:
    """A worker that says one long outcome for each delivery, at once, is within its budget."""
    budget = WireBudget({})
    for size in batches:
        budget.given(size)
        assert budget.read(size * (BYTES_PER_DELIVERY - FRAME_COST), 0.0)
        assert all(budget.said(19, 1) for _ in range(size))
        assert not WireBudget({}, owed=budget.owed).said(19, 1), "none is told twice"


def test_flood_of_small_frames_is_stopped() -> None:
    """Frames that say nothing are stopped after some thousands, however small they are."""
    budget = WireBudget({22: 4 * FRAME_COST})
    frames = 0
    while budget.read(3, 0.0) and budget.said(1, 0):
        frames += 1
    assert 3_000 < frames < 5_000
    budget = WireBudget({22: 4 * FRAME_COST})
    dear = 0
    while budget.read(3, 0.0) and budget.said(22, 0):
        dear += 1
    assert frames // 5 < dear < frames // 3, "a frame costs what it takes to handle one"


def test_budget_fills_with_time() -> None:
    """Bytes within the rate are never too many, and silence saves up no more than the limit."""
    budget = WireBudget({})
    for second in range(100):
        assert budget.read(BYTES_PER_S // 2, float(second))
        assert budget.said(1, 0)
    assert budget.read(0, 10_000.0)
    assert budget.left == MOST_EARNED
    assert not budget.read(MOST_EARNED + 1, 10_000.0)


def test_lines_of_a_second() -> None:
    """So many are taken in each, whatever was dropped before."""
    lines = LineAllowance(3)
    assert [lines.takes(7.2) for _ in range(5)] == [True] * 3 + [False] * 2
    assert lines.takes(8.0)
