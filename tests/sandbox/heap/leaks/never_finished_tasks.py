"""Tasks that wait for an answer that never comes; only the loop knows them."""

from __future__ import annotations

import asyncio

from tests.sandbox.heap.leaks.events import EVENTS, event


async def poll(number: int) -> None:
    held = [event(number + place) for place in range(20)]
    await asyncio.sleep(3_600)
    del held


async def main() -> None:
    for number in range(EVENTS // 20):
        asyncio.get_running_loop().create_task(poll(number))
    await asyncio.sleep(0)
