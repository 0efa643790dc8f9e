"""Whose an object is: it goes by who holds it, in a process that serves several destinations."""

from __future__ import annotations

import pytest

from sandbox.protocol import Holdings
from tests.sandbox.heap.holding import EVENTS, held

#: Bytes that each destination of `plugins` keeps of its events.
KEPT = EVENTS * 100_000


@pytest.fixture(scope="module")
def found() -> Holdings:
    """Of a process with two connections of most destinations."""
    classes = ("InInstance", "InClosure", "InTasks", "InTimers", "InLibrary", "InShared")
    return held(
        {f"{cls}-{n}": f"keeping:{cls}" for cls in classes for n in (1, 2)}
        | {"InModule-1": "in_module:InModule", "InModule-2": "in_module:InModule"}
    )


@pytest.mark.parametrize("where", ["InInstance", "InClosure", "InTasks", "InTimers"])
def test_what_an_instance_holds_is_its_connections(found: Holdings, where: str) -> None:
    """In attributes, in closures made for it, in tasks and timers that began in its batches."""
    for connection in (f"{where}-1", f"{where}-2"):
        assert found.connections[connection] == pytest.approx(KEPT, rel=0.1)


def test_what_modules_hold_is_their_destinations(found: Holdings) -> None:
    """Globals, class attributes, defaults, caches, and a module that nobody else uses."""
    by_destination = {tuple(names): size for names, size in found.destinations}
    # A function's cache has each number once, and two connections filled it.
    kept = KEPT * 2 - KEPT / 5
    assert by_destination["in_module-inmodule",] == pytest.approx(kept, rel=0.1)
    assert not {"InModule-1", "InModule-2"} & found.connections.keys()


def test_what_libraries_hold_is_nobodys(found: Holdings) -> None:
    """The standard library's, and a module that several destinations use."""
    assert found.shared["held_by_all"] == pytest.approx(2 * KEPT, rel=0.1)
    assert found.shared["libraries"] > 2 * KEPT
    for connection in ("InLibrary-1", "InLibrary-2", "InShared-1", "InShared-2"):
        assert connection not in found.connections
    named = {name for names, _ in found.destinations for name in names}
    assert named == {"in_module-inmodule"}
