"""A list that is a default value, and so the same in every call."""

from __future__ import annotations

from tests.sandbox.heap.leaks.events import EVENTS, event


def collect(body: object, seen: list[object] = []) -> int:  # noqa: B006 - the bug
    seen.append(body)
    return len(seen)


async def main() -> None:
    for number in range(EVENTS):
        collect(event(number))
