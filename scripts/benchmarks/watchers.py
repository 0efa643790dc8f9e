"""What it costs the supervisor that people look: sixteen streams at ten thousand connections.

Owns the streams, which take all that comes, and a probe in a process of its own that asks the event
loop for the least there is, again and again: how late that answer is shows how long the loop was
kept by one thing. Both are measured with nobody looking first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import psutil
import uvloop

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.load import Load
from tests.harness.service import RunningService

CONNECTIONS, STREAMS = 10_000, 16
#: What tabs look at, in turns.
LOOKS = (
    "overview",
    "queues",
    "pool:default,exits",
    "tap:test,tap-rejected:test",
    "overview,queues",
)
#: Part of a core that the streams may take, and how late the loop may be.
GOAL_SHARE, GOAL_LAG_MS = 0.05, 10.0
#: Events a second meanwhile, so that there is something to look at.
RATE = 200.0
PROBE_EVERY_S = 0.002


@dataclass(frozen=True)
class Seen:
    """Of one while: CPU of the supervisor as a part of a core, and answers to the probe in ms."""

    share: float
    answers_ms: Sequence[float]


def run(*, seconds: float) -> list[Figure]:
    """CPU that the streams cost, and how late the loop is beside them."""
    sections = bulkhead.plugin_sections("bench-count")
    for n in range(CONNECTIONS - 1):
        sections[f"connections.c{n}"] = {"source": f"s{n}", "destination": "bench-count"}
        sections[f"sources.s{n}"] = {"write_key": f"key-{n}"}
    with bulkhead.running(sections) as service:
        load = Load(
            service.api_port,
            bulkhead.next_prefix(),
            seconds=4 * seconds + 600,
            rate=RATE,
            connections=1,
            batch_events=10,
        )
        with load:
            load.start()
            before_mb = _memory_mb(service)
            alone = [_seen(service, seconds, 0), _seen(service, seconds, 0)]
            watched = [_seen(service, seconds, STREAMS), _seen(service, seconds, STREAMS)]
            more_mb = _memory_mb(service) - before_mb
            load.stop()
            load.finish()
    shares = [with_.share - without.share for with_, without in zip(watched, alone, strict=True)]
    noise = abs(alone[0].share - alone[1].share) / max(statistics.median(shares), 1e-9)
    name = f"{STREAMS} watchers at {CONNECTIONS:,} connections"
    return [
        Figure.median(f"{name}: CPU", shares, "cores", GOAL_SHARE, False, noise),
        *_lateness("nobody looks", alone, None),
        *_lateness(name, watched, GOAL_LAG_MS),
        Figure(f"{name}: memory more", more_mb, "MB", None, False, 0.0),
    ]


def _lateness(name: str, seen: Sequence[Seen], goal: float | None) -> list[Figure]:
    usual = statistics.median(seen[0].answers_ms)
    late = [sorted(answer - usual for answer in one.answers_ms) for one in seen]
    p99 = [each[int(len(each) * 0.99)] for each in late]
    worst = [each[-1] for each in late]
    return [
        Figure.median(f"{name}: an answer late at p99", p99, "ms", goal, False, 0.0),
        Figure.median(f"{name}: at worst", worst, "ms", goal, False, 0.0),
    ]


def _seen(service: RunningService, seconds: float, streams: int) -> Seen:
    return uvloop.run(_watch(service, seconds, streams))


async def _watch(service: RunningService, seconds: float, streams: int) -> Seen:
    async with contextlib.AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=60)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        )
        readers = [
            asyncio.create_task(_read(session, service.admin_port, LOOKS[n % len(LOOKS)]))
            for n in range(streams)
        ]
        # What comes first is more than what comes then.
        await asyncio.sleep(min(5.0, seconds))
        probe = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, str(service.admin_port), str(seconds)),
            stdout=asyncio.subprocess.PIPE,
            limit=64 * 1024 * 1024,
        )
        cpu_s, began = bulkhead.cpu_s(service.pid), time.monotonic()
        said, _ = await probe.communicate()
        share = (bulkhead.cpu_s(service.pid) - cpu_s) / (time.monotonic() - began)
        ended = [reader for reader in readers if reader.done()]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for reader in ended:
            reader.result()  # raises why
    # Streams that were closed are found so twice a second.
    await asyncio.sleep(2.0)
    return Seen(share, json.loads(said))


async def _read(session: aiohttp.ClientSession, port: int, looks: str) -> None:
    async with session.get(f"http://127.0.0.1:{port}/live", params={"look": looks}) as answer:
        answer.raise_for_status()
        async for _ in answer.content.iter_any():
            pass
    raise RuntimeError(f"the stream of {looks} has ended")


def _memory_mb(service: RunningService) -> float:
    return float(psutil.Process(service.pid).memory_full_info().uss / 1e6)


async def _probe(port: int, seconds: float) -> list[float]:
    """Milliseconds of each answer, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    answers, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
        await reader.readexactly(int(length))
        answers.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(PROBE_EVERY_S)
    writer.close()
    return answers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask the event loop again and again.")
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    print(json.dumps(uvloop.run(_probe(given.port, given.seconds))))
