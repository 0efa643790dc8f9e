"""The other side of `deliver`: as many POSTs as aiohttp sends with nothing around it.

`python -m scripts.benchmarks.bare_client URL EVENTS CONCURRENCY` prints
requests a second. Must not do anything but send and check the status.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import uvloop

from scripts.benchmarks.load import event_parts, numbered

HEADERS = {"Content-Type": "application/json"}


async def main(url: str, events: int, concurrency: int) -> float:
    """Send `events` POSTs to `url`, `concurrency` at once; requests a second."""
    parts = event_parts("bare")
    numbers = iter(range(events))

    async def send() -> None:
        for number in numbers:
            async with session.post(url, data=numbered(parts, number), headers=HEADERS) as answer:
                await answer.read()
                if answer.status != 200:
                    sys.exit(f"the sink answered {answer.status}")

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = time.monotonic()
        await asyncio.gather(*(send() for _ in range(concurrency)))
        return events / (time.monotonic() - started)


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
