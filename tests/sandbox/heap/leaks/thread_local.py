"""A cache of the thread that runs the loop."""

from __future__ import annotations

import threading

from tests.sandbox.heap.leaks.events import EVENTS, event

LOCAL = threading.local()


async def main() -> None:
    LOCAL.cache = {}
    for number in range(EVENTS):
        LOCAL.cache[number] = event(number)
