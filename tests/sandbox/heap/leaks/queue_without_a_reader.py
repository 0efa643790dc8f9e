"""A queue that nobody reads."""

from __future__ import annotations

import asyncio

from tests.sandbox.heap.leaks.events import EVENTS, event


class Sender:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[object] = asyncio.Queue()


SENDER = Sender()


async def main() -> None:
    for number in range(EVENTS):
        SENDER.queue.put_nowait(event(number))
