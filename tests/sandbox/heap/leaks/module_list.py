"""A list of a module that every event is added to."""

from __future__ import annotations

from tests.sandbox.heap.leaks.events import EVENTS, event

SEEN: list[object] = []


async def main() -> None:
    SEEN.extend(event(number) for number in range(EVENTS))
