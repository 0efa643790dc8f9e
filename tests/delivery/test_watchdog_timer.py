"""The watchdog's one timer: a look that comes late hears before it judges."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from supervisor.core.counted_time import LATE_S
from supervisor.core.isolation.machine import Isolation
from supervisor.core.isolation.responsiveness import Responsiveness
from supervisor.delivery.state import PoolRecords
from supervisor.delivery.watchdog import Watchdog
from supervisor.delivery.watchdog.effects import WatchdogEffect
from supervisor.diagnostics.collector import Collector
from supervisor.workers.spawn import PoolSpec
from tests.delivery.handles import LIMITS

GENEROUS_S = 20.0


async def test_what_workers_said_is_heard_before_a_late_look_judges() -> None:
    """The supervisor had no CPU: frames lie in its sockets that it has not read."""
    heard: list[str] = []
    looked = asyncio.Event()

    def do(effects: Iterable[WatchdogEffect]) -> None:
        if list(effects):
            heard.append("judged")
            looked.set()

    watchdog = Watchdog(
        PoolSpec("p", 1, 0, 30.0, LIMITS, "strict", None, (), ()),
        PoolRecords(),
        isolation=Isolation(),
        responsiveness=Responsiveness(),
        collector=Collector(),
        clock=asyncio.get_running_loop().time,
        others_wait=lambda connection, now: False,
        do=do,
    )
    reader, writer = await _wire(heard)
    watchdog.start()
    writer.write(b"a frame")
    watchdog._rings_at -= 2 * LATE_S
    watchdog._ring()
    assert heard == [], "nothing is judged yet"
    async with asyncio.timeout(GENEROUS_S):
        await looked.wait()
    assert heard[:2] == ["said", "judged"]
    watchdog.stop_when_empty()
    writer.close()
    reader.close()


async def _wire(heard: list[str]) -> tuple[asyncio.BaseTransport, asyncio.WriteTransport]:
    """What is written at one end is heard at the other."""

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            heard.append("said")

    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    reader, _ = await loop.create_unix_connection(Protocol, sock=ours)
    writer, _ = await loop.create_unix_connection(asyncio.Protocol, sock=theirs)
    return reader, writer
