"""A cache without a limit, by an argument that never repeats."""

from __future__ import annotations

import functools

from tests.sandbox.heap.leaks.events import EVENTS, event


@functools.cache
def enriched(number: int) -> dict[str, object]:
    return event(number)


async def main() -> None:
    for number in range(EVENTS):
        enriched(number)
