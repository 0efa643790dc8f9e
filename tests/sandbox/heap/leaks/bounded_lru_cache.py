"""A cache whose limit is larger than the memory."""

from __future__ import annotations

import functools

from tests.sandbox.heap.leaks.events import EVENTS, event


class Lookup:
    @functools.lru_cache(maxsize=1_000_000)  # noqa: B019 - the bug
    def find(self, number: int) -> dict[str, object]:
        return event(number)


LOOKUP = Lookup()


async def main() -> None:
    for number in range(EVENTS):
        LOOKUP.find(number)
