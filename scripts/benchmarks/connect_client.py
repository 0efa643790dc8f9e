"""One run of the row `connect`: requests/s of a session, with a broker behind it or without.

`python -m scripts.benchmarks.connect_client URL broker|plain kept|new COUNT CONCURRENCY`. With a
broker, a forked child is the supervisor's end: its channel, desk, policy and connects.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import time
from collections.abc import Sequence

import aiohttp
import uvloop
from yarl import URL

from sandbox import channel as worker_channel
from sandbox.jail.egress import HTTP_CONNECTIONS, Egress
from sandbox.protocol import FromWorkerChannel
from scripts.benchmarks.load import event_parts, numbered
from supervisor.channel import Channel
from supervisor.egress.broker import Broker, Desk
from supervisor.egress.names import Resolver
from supervisor.egress.policy import Reach, allowances, host_patterns

HEADERS = {"Content-Type": "application/json"}


async def _supervise(end: socket.socket, place: str) -> None:
    """The supervisor's end, until it is ended."""
    allowed, blocks = allowances([place])
    reach = Reach(
        connection="measured",
        destination="webhooks",
        pool="default",
        network="declared",
        declared=("{url}",),
        hosts=host_patterns(["{url}"], {"url": f"http://{place}/"}, {}),
        allowed=allowed,
        blocks=blocks,
    )
    broker = Broker(Resolver(), counted=lambda connection, result: None, most_connecting=1000)
    channel = Channel(end, lambda message: desk.said(message), sys.exit)
    desk = Desk(broker, reach_of=lambda name: reach, send=channel.send, condemn=sys.exit)
    channel.open()
    await asyncio.Event().wait()


async def _measure(
    url: str, count: int, concurrency: int, *, is_new: bool, end: socket.socket | None
) -> float:
    if end is None:
        connector = aiohttp.TCPConnector(limit=HTTP_CONNECTIONS)
    else:
        own = worker_channel.Channel(end.detach(), lambda message, fd: egress.heard(message, fd))  # type: ignore[arg-type]  # no heap is asked for

        def ask(message: FromWorkerChannel) -> None:
            own.send(message)

        egress = Egress(ask, ssl.create_default_context())
        own.open()
        connector = egress.connector("measured")
    # What aiohttp's own option does, which the service's connector has no use for.
    connector._force_close = is_new
    parts = event_parts("connect")
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def send(numbers: Sequence[int]) -> None:
            for number in numbers:
                body = numbered(parts, number)
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    await answer.read()

        await asyncio.gather(*(send(range(20)) for _ in range(concurrency)))  # warms up
        started = time.monotonic()
        each = count // concurrency
        await asyncio.gather(*(send(range(each)) for _ in range(concurrency)))
        return each * concurrency / (time.monotonic() - started)


def main(url: str, how: str, keep: str, count: str, concurrency: str) -> None:
    """Print requests/s."""
    end: socket.socket | None = None
    child = 0
    if how == "broker":
        ours, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            end.close()
            place = URL(url)
            uvloop.run(_supervise(ours, f"{place.host}:{place.port}"))
        ours.close()
    try:
        rate = uvloop.run(
            _measure(url, int(count), int(concurrency), is_new=keep == "new", end=end)
        )
    finally:
        if child:
            os.kill(child, 9)
            os.waitpid(child, 0)
    print(rate)


if __name__ == "__main__":
    main(*sys.argv[1:])
