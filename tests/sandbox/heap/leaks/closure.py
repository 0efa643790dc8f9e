"""A variable that a function has closed over."""

from __future__ import annotations

from collections.abc import Callable

from tests.sandbox.heap.leaks.events import EVENTS, event


def counting() -> Callable[[int], int]:
    history: list[object] = []

    def count(number: int) -> int:
        history.append(event(number))
        return len(history)

    return count


COUNT = counting()


async def main() -> None:
    for number in range(EVENTS):
        COUNT(number)
