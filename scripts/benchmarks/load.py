"""The load generator: batches of events over kept-alive connections, in a process of its own.

Owns requests and what was answered. It sends as an SDK does: one request at a
time on each connection, the same batch again after 429, 503 or a broken
connection. `python -m scripts.benchmarks.load` prints "ready", starts at the
first line of its standard input, and ends with one line of JSON; `Load`
drives it. Must spend as little CPU an event as it can, since it shares the
cores with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Self

import uvloop

from tests.harness.service import WRITE_KEY

#: Events of a batch and bytes of an event, as the goals say.
BATCH_EVENTS = 100
EVENT_BYTES = 460
#: Wait before a refused or broken batch is sent again, in seconds.
AGAIN_S = 0.05
NUMBER_DIGITS = 10


def message_id(prefix: str, number: int) -> str:
    """The id of the event `number` of the load called `prefix`."""
    return f"{prefix}-{number:0{NUMBER_DIGITS}d}"


def event_parts(prefix: str) -> tuple[bytes, bytes]:
    """An event's JSON before and behind its number; with it, EVENT_BYTES long."""
    mark = "9" * NUMBER_DIGITS
    event = {
        "type": "track",
        "event": "Order Completed",
        "userId": "user-31415",
        "timestamp": "2026-11-22T12:00:00.000Z",
        "context": {"library": {"name": "bench", "version": "1.0"}, "ip": "203.0.113.9"},
        "properties": {"revenue": 31.41, "currency": "EUR", "note": ""},
        "messageId": f"{prefix}-{mark}",
    }
    missing = EVENT_BYTES - len(json.dumps(event))
    assert missing >= 0, "the prefix is too long for the size of an event"
    event["properties"] = {"revenue": 31.41, "currency": "EUR", "note": "x" * missing}
    before, behind = json.dumps(event).encode().split(mark.encode())
    return before, behind


def numbered(parts: tuple[bytes, bytes], number: int) -> bytes:
    """One event's JSON."""
    return parts[0] + b"%0*d" % (NUMBER_DIGITS, number) + parts[1]


@dataclass(frozen=True)
class LoadReport:
    """What came of a load; `accepted` are the numbers of the first events of accepted batches.

    `batch_events` is how many each of these had.
    """

    accepted: list[int]
    batch_events: int
    refused: int
    broken: int
    seconds: float

    @property
    def events(self) -> int:
        """Accepted events."""
        return len(self.accepted) * self.batch_events

    def message_ids(self, prefix: str) -> set[str]:
        """Ids of all accepted events."""
        return {
            message_id(prefix, first + index)
            for first in self.accepted
            for index in range(self.batch_events)
        }


class Load:
    """A load generator process; `start` lets it go, `finish` waits for its report."""

    def __init__(
        self,
        port: int,
        prefix: str,
        *,
        events: int | None = None,
        seconds: float | None = None,
        rate: float | None = None,
        connections: int = 16,
        batch_events: int = BATCH_EVENTS,
    ) -> None:
        """Until `events` were accepted or `seconds` are over; `rate` is events a second."""
        options = {"events": events, "seconds": seconds, "rate": rate, "batch": batch_events}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks.load"]
            + [f"--port={port}", f"--prefix={prefix}", f"--connections={connections}"]
            + [f"--{name}={value}" for name, value in options.items() if value is not None],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if ready != "ready\n":
            raise RuntimeError(f"the load generator did not start: {ready!r}")

    def start(self) -> Self:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self

    def stop(self) -> None:
        """No further batches, whatever it was told; `finish` still has to be called."""
        assert self._process.stdin is not None
        self._process.stdin.write("stop\n")
        self._process.stdin.flush()

    def finish(self) -> LoadReport:
        """Wait for its end and return what came of it. Raises RuntimeError where it failed."""
        assert self._process.stdout is not None
        # Its input stays open until then: the end of its input means that we are gone.
        output = self._process.stdout.readline()
        self._process.communicate()
        if self._process.returncode != 0:
            raise RuntimeError(f"the load generator exited with {self._process.returncode}")
        return LoadReport(**json.loads(output))

    def kill(self) -> None:
        """End it at once; nothing where it has ended."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()


class _Generator:
    """Hands out batches, at the rate and up to the number asked for."""

    def __init__(
        self, prefix: str, events: int | None, rate: float | None, batch_events: int
    ) -> None:
        self._before, self._behind = event_parts(prefix)
        self._limit = events
        self._batch_events = batch_events
        self._interval_s = None if rate is None else batch_events / rate
        self._next_at = asyncio.get_running_loop().time()
        self._next_number = 0
        self._is_stopped = False
        self.accepted: list[int] = []
        self.refused = 0
        self.broken = 0

    async def next_batch(self) -> int | None:
        """The number of the next batch's first event, when it is due; None when there is none."""
        if self._is_stopped or (self._limit is not None and self._next_number >= self._limit):
            return None
        first = self._next_number
        self._next_number += self._batch_events
        if self._interval_s is not None:
            now = asyncio.get_running_loop().time()
            due, self._next_at = self._next_at, self._next_at + self._interval_s
            if due > now:
                await asyncio.sleep(due - now)
        return None if self._is_stopped else first

    def stop(self) -> None:
        """No further batches."""
        self._is_stopped = True

    def body(self, first: int) -> bytes:
        """The JSON of a batch."""
        between = self._behind + b"," + self._before
        numbers = [b"%0*d" % (NUMBER_DIGITS, first + index) for index in range(self._batch_events)]
        return b'{"batch":[' + self._before + between.join(numbers) + self._behind + b"]}"


async def _send(generator: _Generator, port: int, key: str) -> None:
    """One connection: batch after batch, each until it is accepted."""
    authorization = base64.b64encode(f"{key}:".encode()).decode()
    head = (
        f"POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Basic {authorization}\r\nContent-Type: application/json\r\n"
        "Content-Length: "
    ).encode()
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while (first := await generator.next_batch()) is not None:
        body = generator.body(first)
        request = head + b"%d\r\n\r\n" % len(body) + body
        status = 0
        while status != 200:
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", port)
                reader, writer = streams
                writer.write(request)
                status = await _read_status(reader)
            except (OSError, EOFError, asyncio.LimitOverrunError):
                # The service was killed or starts: the same batch again, as SDKs do.
                generator.broken += 1
                if streams is not None:
                    streams[1].close()
                streams = None
                await asyncio.sleep(AGAIN_S)
                continue
            if status in (429, 503):
                generator.refused += 1
                await asyncio.sleep(AGAIN_S)
            elif status != 200:
                sys.exit(f"load: the service answered {status}")
        generator.accepted.append(first)
    if streams is not None:
        streams[1].close()


async def _read_status(reader: asyncio.StreamReader) -> int:
    """Read one response to its end. Raises EOFError where the connection breaks first."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, length = head.partition(b"content-length:")
    await reader.readexactly(int(length.split(b"\r\n", 1)[0]) if length else 0)
    return int(head[9:12])


async def _main(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    started = loop.time()
    generator = _Generator(arguments.prefix, arguments.events, arguments.rate, arguments.batch)
    senders = [
        asyncio.create_task(_send(generator, arguments.port, arguments.key))
        for _ in range(arguments.connections)
    ]

    def stop() -> None:
        loop.remove_reader(sys.stdin)  # at its end it would stay readable for ever
        generator.stop()

    loop.add_reader(sys.stdin, stop)
    if arguments.seconds is not None:
        loop.call_later(arguments.seconds, generator.stop)
    await asyncio.gather(*senders)
    loop.remove_reader(sys.stdin)
    print(
        json.dumps(
            {
                "accepted": generator.accepted,
                "batch_events": arguments.batch,
                "refused": generator.refused,
                "broken": generator.broken,
                "seconds": loop.time() - started,
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--key", default=WRITE_KEY)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--events", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--batch", type=int, default=BATCH_EVENTS)
    uvloop.run(_main(parser.parse_args()))
