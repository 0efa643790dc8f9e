"""What a worker is tied to us by, where the kernel refuses part of it."""

from __future__ import annotations

import pytest

from supervisor.workers.ends import Ends
from tests.harness.files import open_files, room_for


@pytest.mark.parametrize("room", range(10))
def test_they_are_made_together_or_not_at_all(room: int) -> None:
    """Wherever the kernel stops, nothing is left open."""
    before = open_files()
    with room_for(room), pytest.raises(OSError, match="Too many open files"):
        Ends.make(1024 * 1024)
    assert open_files() == before


def test_all_of_them_are_closed() -> None:
    """Ten descriptors, and none of them is left."""
    before = open_files()
    with room_for(10):
        ends = Ends.make(1024 * 1024)
    assert len(open_files() - before) == 10
    ends.close()
    assert open_files() == before
