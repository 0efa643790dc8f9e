"""The other side of `tax`: a destination run by asyncio with no supervisor.

`python -m scripts.benchmarks.plain_worker CPU_US SECONDS` prints "ready",
starts at the first line of its standard input, and prints events a second.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import aiohttp
import uvloop

from destinations.kit import Event
from scripts.benchmarks.load import BATCH_EVENTS, event_parts, numbered
from scripts.benchmarks.plugins.bench_destinations import Burn


async def main(cpu_us: float, seconds: float) -> float:
    """Deliver lists of events that are in memory for `seconds`; events a second."""
    parts = event_parts("plain")
    bodies = [numbered(parts, number) for number in range(BATCH_EVENTS)]
    async with aiohttp.ClientSession() as session:
        destination = Burn(Burn.Settings(cpu_us=cpu_us), session, logging.getLogger("plain"))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        started, events = time.monotonic(), 0
        while (elapsed := time.monotonic() - started) < seconds:
            outcomes = await destination.deliver([Event(body) for body in bodies])
            events += len(outcomes)
            await asyncio.sleep(0)
        return events / elapsed


if __name__ == "__main__":
    print(uvloop.run(main(float(sys.argv[1]), float(sys.argv[2]))))
