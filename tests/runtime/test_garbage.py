"""What lives as long as the config is left alone by the collector, and not for longer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from supervisor.runtime.garbage import settle


class Node:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Other tests get the collector as it was."""
    yield
    gc.unfreeze()


def test_what_a_reload_has_left_is_collected_with_the_next_one() -> None:
    """Until then a collection does not so much as look at it."""
    node = Node()
    gone = weakref.ref(node)
    settle()
    del node
    gc.collect()
    assert gone() is not None
    settle()
    assert gone() is None
