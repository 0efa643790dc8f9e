"""Generators that are never read to their end."""

from __future__ import annotations

from collections.abc import Iterator

from tests.sandbox.heap.leaks.events import EVENTS, event

PAGES: list[Iterator[object]] = []


def pages(number: int) -> Iterator[object]:
    body = event(number)
    yield len(body)
    yield body


async def main() -> None:
    for number in range(EVENTS):
        pages_of_one = pages(number)
        next(pages_of_one)
        PAGES.append(pages_of_one)
