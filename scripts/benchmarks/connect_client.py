"""A client of the row `connect`: the same requests through a broker and without, turn by turn.

`python -m scripts.benchmarks.connect_client URL kept|new ROUNDS` prints its rounds as JSON. A
forked child is the supervisor's end of the broker: its channel, desk, policy and connects. Both
sides are sessions of one process, and their turns short, so that whatever else the machine does
meets both.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp
import msgspec
import uvloop
from yarl import URL

from sandbox import channel as worker_channel
from sandbox.jail.egress import HTTP_CONNECTIONS, Egress
from sandbox.protocol import FromWorkerChannel
from scripts.benchmarks.bulkhead import cpu_s
from scripts.benchmarks.load import event_parts, numbered
from supervisor.egress.broker import Broker, EgressSession
from supervisor.egress.names import Resolver
from supervisor.egress.policy import EgressPolicy, allowances, host_patterns
from supervisor.workers.channel import Channel

HEADERS = {"Content-Type": "application/json"}
#: Requests at once where requests/s and CPU are measured, and requests of a turn, by case.
CONCURRENCY = 16
TOGETHER = {"kept": 640, "new": 160}
#: Requests of a turn that are sent one at a time and timed.
TIMED = 100


class Turn(NamedTuple):
    """One side's part of a round: requests/s and CPU of many at once, times of single ones."""

    rate: float
    cpu_us: float
    supervisor_cpu_us: float
    times_us: list[float]


class Round(NamedTuple):
    """A turn of each side."""

    broker: Turn
    plain: Turn


async def _supervise(end: socket.socket, place: str) -> None:
    """The supervisor's end, until it is ended."""
    allowed, blocks = allowances([place])
    egress_policy = EgressPolicy(
        connection="measured",
        destination="webhooks",
        pool="default",
        network="declared",
        declared=1,
        hosts=host_patterns(["{url}"], {"url": f"http://{place}/"}, {}),
        allowed=allowed,
        blocks=blocks,
    )
    broker = Broker(Resolver(), counted=lambda connection, result: None, most_connecting=1000)
    channel = Channel(end, lambda message: egress_session.said(message), sys.exit)
    egress_session = EgressSession(
        broker, egress_policy_of=lambda name: egress_policy, send=channel.send, condemn=sys.exit
    )
    channel.open()
    await asyncio.Event().wait()


def _brokered(end: socket.socket) -> aiohttp.TCPConnector:
    """What a session in a worker has; its supervisor is at the other end of `end`."""
    own = worker_channel.SupervisorChannel(
        end.detach(),
        lambda message, fd: egress.heard(message, fd),  # type: ignore[arg-type]  # no heap is asked for
    )

    def ask(message: FromWorkerChannel) -> None:
        own.send(message)

    egress = Egress(ask, ssl.create_default_context())
    own.open()
    return egress.connector("measured")


class _Side:
    """A session with a connector, and whose CPU its requests take."""

    def __init__(
        self, connector: aiohttp.TCPConnector, url: str, keep: str, supervisor: int | None
    ) -> None:
        # What aiohttp's own option does, which the service's connector has no use for.
        connector._force_close = keep == "new"
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        self._url = url
        self._together = TOGETHER[keep]
        self._supervisor = supervisor
        self._parts = event_parts("connect")

    async def turn(self) -> Turn:
        """Many requests at once, then some one at a time."""
        supervisor_s, own_s, started = self._supervisor_s(), time.process_time(), time.monotonic()
        each = range(self._together // CONCURRENCY)
        await asyncio.gather(*(self._send(each) for _ in range(CONCURRENCY)))
        count = len(each) * CONCURRENCY
        rate = count / (time.monotonic() - started)
        cpu_us = (time.process_time() - own_s) / count * 1e6
        supervisor_us = (self._supervisor_s() - supervisor_s) / count * 1e6
        times_us = []
        for number in range(TIMED):
            before = time.perf_counter()
            await self._send((number,))
            times_us.append((time.perf_counter() - before) * 1e6)
        return Turn(rate, cpu_us, supervisor_us, times_us)

    async def close(self) -> None:
        """Close what is open."""
        await self._session.close()

    async def _send(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            body = numbered(self._parts, number)
            async with self._session.post(self._url, data=body, headers=HEADERS) as answer:
                await answer.read()

    def _supervisor_s(self) -> float:
        return 0.0 if self._supervisor is None else cpu_s(self._supervisor)


async def _measure(
    url: str, keep: str, rounds: int, end: socket.socket, supervisor: int
) -> list[Round]:
    broker = _Side(_brokered(end), url, keep, supervisor)
    plain = _Side(aiohttp.TCPConnector(limit=HTTP_CONNECTIONS), url, keep, None)
    for side in (broker, plain):
        await side.turn()  # warms up
    found = []
    for number in range(rounds):
        # Each is the first as often as the other.
        sides = (plain, broker) if number % 2 else (broker, plain)
        turns = {side: await side.turn() for side in sides}
        found.append(Round(turns[broker], turns[plain]))
    for side in (broker, plain):
        await side.close()
    return found


def main(url: str, keep: str, rounds: str) -> None:
    """Print the rounds."""
    ours, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        end.close()
        place = URL(url)
        uvloop.run(_supervise(ours, f"{place.host}:{place.port}"))
    ours.close()
    try:
        found = uvloop.run(_measure(url, keep, int(rounds), end, child))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
