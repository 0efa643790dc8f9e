"""A local HTTP sink that measures how old events are when they arrive, by connection.

Owns the counting: `POST /NAME` takes a JSON array of events and answers 200 at once; what
came under which name is asked with `GET /`, which forgets it. `python -m
scripts.benchmarks.latency_sink` prints its port and ends with its standard input;
`LatencySink` drives it. Must spend as little CPU an event as it can.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import uvloop

from tests.harness.own_process import OwnProcess

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
#: Resolution of ages, in milliseconds.
STEP_MS = 1


@dataclass(frozen=True)
class Received:
    """What came under one name: events by age in steps of STEP_MS; and when the last one came.

    `last_at` is of the monotonic clock, which all processes of a machine share.
    """

    ages: Counter[int]
    last_at: float

    @property
    def events(self) -> int:
        """How many."""
        return self.ages.total()


def percentile_ms(ages: Counter[int], share: float) -> float:
    """The age that `share` of the events do not exceed, in milliseconds."""
    left = ages.total() * share
    for age in sorted(ages):
        left -= ages[age]
        if left <= 0:
            return float(age * STEP_MS)
    raise ValueError("no events")


class LatencySink(OwnProcess):
    """The sink in a process of its own; a context manager. `url` ends in a slash."""

    def __init__(self) -> None:
        super().__init__("scripts.benchmarks.latency_sink")

    def take(self) -> dict[str, Received]:
        """What came since the last time, by name."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:  # noqa: S310 - http
            found = json.load(answer)
        return {
            name: Received(Counter({int(age): n for age, n in ages.items()}), last_at)
            for name, (ages, last_at) in found.items()
        }


class _Sink(asyncio.Protocol):
    """Requests with Content-Length, pipelined or not."""

    ages: dict[str, Counter[int]]
    last_at: dict[str, float]

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports quack like this class but do not inherit it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            mark = head.lower().find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            answer = b""
            if head.startswith(b"POST"):
                self._count(head.split(b" ", 2)[1][1:].decode(), body)
            else:
                answer = self._told()
            self._transport.write(_ANSWER % (len(answer), answer))

    def _count(self, name: str, body: bytes) -> None:
        now = time.time()
        found = self.ages.setdefault(name, Counter())
        self.last_at[name] = time.monotonic()
        stamp, age = b"", 0
        for part in body.split(b'"receivedAt":"')[1:]:
            # Events of one request share their time of receipt, so most need no parsing.
            if part[:24] != stamp:
                stamp = part[:24]
                received = datetime.fromisoformat(stamp.decode().replace("Z", "+00:00"))
                age = max(0, round((now - received.timestamp()) * 1e3 / STEP_MS))
            found[age] += 1

    def _told(self) -> bytes:
        body = json.dumps({name: (self.ages[name], self.last_at[name]) for name in self.ages})
        self.ages.clear()
        return body.encode()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    _Sink.ages, _Sink.last_at = {}, {}
    server = await loop.create_server(_Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve())
