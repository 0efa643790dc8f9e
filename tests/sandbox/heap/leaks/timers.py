"""Timers that nobody cancels."""

from __future__ import annotations

import asyncio

from tests.sandbox.heap.leaks.events import EVENTS, event


def expire(body: object) -> None:
    raise NotImplementedError


async def main() -> None:
    loop = asyncio.get_running_loop()
    for number in range(EVENTS):
        loop.call_later(3_600, expire, event(number))
