"""One customer's journey through every destination: nothing on the way is refused."""

from __future__ import annotations

import pytest

from destinations.kit import Delivered, Unsupported
from tests.harness.destinations import NAMES
from tests.harness.journey import travelled


@pytest.mark.parametrize("name", NAMES)
def test_journey(name: str) -> None:
    """Each event of the journey is delivered, or none of the destination's."""
    steps = travelled(name)
    assert any(outcome == Delivered() for *_, outcome in steps)
    for title, _, requests, outcome in steps:
        assert outcome in (Delivered(), Unsupported()), title
        assert bool(requests) is (outcome == Delivered()), title
