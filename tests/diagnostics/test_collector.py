"""Evidence that is taken of living workers keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox.protocol import MAX_HOLDINGS, ToWorkerChannel
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.diagnostics.collector import Collector, Kind
from supervisor.errors import Busy
from supervisor.telemetry.metrics import Metrics
from supervisor.workers.channel import Descriptor
from tests.delivery.handles import StillChannel, StillWorker
from tests.harness.waiting import until


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


@contextlib.asynccontextmanager
async def giving(
    collector: Collector, worker: StillWorker, kind: Kind, *, patient: bool = False
) -> AsyncIterator[None]:
    """This worker gives that, until the end of the block."""
    sink = os.open(os.devnull, os.O_WRONLY)
    piece = asyncio.create_task(
        collector.collect(worker, kind, sink, max_bytes=MAX_HOLDINGS, patient=patient)
    )
    try:
        await asyncio.sleep(0)
        if piece.done():
            piece.result()  # raises Busy
        yield
    finally:
        piece.cancel()
        await asyncio.wait({piece})
        os.close(sink)
        assert isinstance(worker.channel, HeldChannel)
        while worker.channel.held:
            worker.channel.held.pop().close()


def ready(number: int) -> StillWorker:
    """A worker that takes its time with whatever it is asked for."""
    return StillWorker(number, label=f"p-{number}", state=ProcessState.READY, channel=HeldChannel())


async def test_a_count_is_had_beside_what_takes_long() -> None:
    """Of another worker; two counts, two snapshots, and both of one worker are one too many."""
    collector, one, other = Collector(), ready(1), ready(2)
    async with giving(collector, one, "heapsnapshot"), giving(collector, other, "holdings"):
        assert collector.is_asking(one)
        assert collector.is_asking(other)
        asked: list[tuple[StillWorker, Kind]] = [
            (one, "holdings"),
            (other, "heapsnapshot"),
            (ready(3), "holdings"),
        ]
        for worker, kind in asked:
            with pytest.raises(Busy, match="gives its"):
                async with giving(collector, worker, kind):
                    pass
        with pytest.raises(Busy, match="p-1 gives its heapsnapshot"):
            async with giving(collector, ready(3), "summary"):
                pass
    assert not collector.is_asking(one)
    async with giving(collector, other, "heapsnapshot"):
        pass


async def test_who_is_patient_has_its_turn() -> None:
    """Once all that is in the way has ended, and not before."""
    collector, one, other = Collector(), ready(1), ready(2)
    async with contextlib.AsyncExitStack() as stack:
        async with giving(collector, one, "heapsnapshot"):
            waiting = giving(collector, other, "summary", patient=True)
            await stack.enter_async_context(waiting)
            async with giving(collector, other, "holdings"):
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not collector.is_asking(other)
        await until(lambda: collector.is_asking(other), WITHIN_S, "it is asked")
