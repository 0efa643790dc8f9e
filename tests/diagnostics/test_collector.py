"""Evidence that is taken of living workers keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

from sandbox.protocol import ToWorkerChannel
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.diagnostics.collector import Collector
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.channel import Descriptor
from tests.delivery.handles import StillChannel, StillWorker


class HeldChannel(StillChannel):
    """Its worker holds the end of the pipe, and writes nothing."""

    def __init__(self) -> None:
        self.held: list[Descriptor] = []

    def send(self, message: ToWorkerChannel, descriptor: Descriptor | None = None) -> None:
        """Take it."""
        if descriptor is not None:
            self.held.append(descriptor)


#: Seconds that may pass before a test has failed; less than a worker may take to begin.
WITHIN_S = 4.0


async def test_evidence_of_many_pools_keeps_no_scrape_waiting() -> None:
    """Each pool's worker takes its time with a piece; `/metrics` is served meanwhile."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    channel = HeldChannel()
    sink = os.open(os.devnull, os.O_WRONLY)
    pieces = [
        asyncio.create_task(
            Collector().collect(
                StillWorker(
                    number, label=f"p{number}-1", state=ProcessState.READY, channel=channel
                ),
                "speedscope",
                sink,
                max_bytes=1,
            )
        )
        for number in range(1, 9)
    ]
    await asyncio.sleep(0)
    assert len(channel.held) == len(pieces)
    try:
        page = await asyncio.wait_for(Metrics("1.2.3").scrape(), WITHIN_S)
        assert b"bulkhead" in page
        assert not any(piece.done() for piece in pieces)
    finally:
        for piece in pieces:
            piece.cancel()
        for piece in pieces:
            with contextlib.suppress(asyncio.CancelledError):
                await piece
        for end in channel.held:
            end.close()
        os.close(sink)
