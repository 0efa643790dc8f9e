"""A destination that keeps what it has sent, served by the runner of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome
from sandbox.marks import MarkerWriter
from sandbox.protocol import Batch, Configure
from sandbox.runner import Runner
from tests.sandbox.heap.leaks.events import EVENTS, event


class Leaky(Destination):
    name = "leaky"

    class Settings(msgspec.Struct, frozen=True):
        pass

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        self.sent = [*getattr(self, "sent", []), *events]
        for each in events:
            assert each["type"]  # decodes it
        return [Delivered() for _ in events]


async def main() -> None:
    done = asyncio.Event()
    runner = Runner(
        lambda _: None,
        MarkerWriter(),
        lambda _: aiohttp.TCPConnector(),
        lambda _: None,
        lambda: 0.0,
    )
    runner.add("leaky", Leaky)
    runner.configure(Configure("website-leaky", "leaky", {}))
    encoded = [msgspec.json.encode(event(number)) for number in range(EVENTS)]
    runner.start(Batch(1, "website-leaky", 60.0, encoded))
    del encoded
    runner.when_idle(done.set)
    await done.wait()
    # As in a worker, where the wire's protocol refers to it.
    asyncio.get_running_loop().runner = runner  # type: ignore[attr-defined]  # whatever holds it
