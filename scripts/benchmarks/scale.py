"""Row `scale`: CPU an event and memory of the supervisor, by connections and backlog.

Owns the row's sizes and goals. Every connection has a source of its own, as
ten thousand customers would; batches of 100 events go to sources in turn. The
backlog is paused connections' events, on disk before the clock starts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psutil

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure
from supervisor.state.paused import FILE
from tests.harness.service import RunningService

GOAL_SPREAD = 1.1
GOAL_MEMORY_MB = 300.0
CONNECTIONS = (10, 100, 1_000, 10_000)
BATCH = 100
#: Requests at once of the load.
SENDERS = 8
DRAIN_TIMEOUT_S = 600.0
#: Seconds between two questions whether all is delivered, which cost more than many events.
QUIET_S = 1.0


def run(*, events: int, backlog: int, connections: Sequence[int]) -> Sequence[Figure]:
    """Deliver `events` at each number of connections, then `backlog` pending ones."""
    figures: list[Figure] = []
    costs: dict[int, float] = {}
    for count in connections:
        cost, memory_mb, scrape_s = _delivered(count, events)
        costs[count] = cost
        detail = f"/metrics takes {scrape_s:.2f} s"
        figures.append(Figure(f"{count} connections", cost, "µs/event", None, False, 0.0, detail))
        figures.append(Figure(f"{count}: memory", memory_mb, "MB", GOAL_MEMORY_MB, False, 0.0))
    middle = statistics.median(costs.values())
    spread = max(costs.values()) / middle
    figures.append(Figure("dearest to median", spread, "x", GOAL_SPREAD, False, 0.0))
    cost, memory_mb = _backlogged(connections[-1], backlog)
    figures.append(Figure(f"{backlog} pending: drain", cost, "µs/event", None, False, 0.0))
    figures.append(
        Figure(f"{backlog} pending: memory", memory_mb, "MB", GOAL_MEMORY_MB, False, 0.0)
    )
    return figures


def _sections(count: int) -> dict[str, dict[str, object]]:
    sections: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(bulkhead.PLUGINS)]},
        "destinations.bench-count": {"class": "bench_destinations:Count"},
        "pools.default": {"destinations": ["*"], "workers": 1},
        # Time and memory of deduplication depend on ids, not on connections.
        "queue": {"max_pending": "20GiB"},
    }
    for n in range(count):
        sections[f"sources.s{n}"] = {"write_key": f"key-{n}"}
        sections[f"connections.c{n}"] = {"source": f"s{n}", "destination": "bench-count"}
    return sections


def _delivered(count: int, events: int) -> tuple[float, float, float]:
    """CPU (µs an event), memory (MB) and the time of a scrape (s)."""
    with bulkhead.running(_sections(count)) as service:
        # Each connection once: its first batch of all takes its settings along.
        _send(service, count, max(events // 4, count * BATCH))
        _cpu_s_when_empty(service)
        before = bulkhead.cpu_s(service.pid)
        _send(service, count, events)
        cost = (_cpu_s_when_empty(service) - before) / events * 1e6
        memory_mb = _memory_mb(service)
        began = time.monotonic()
        with urllib.request.urlopen(
            f"http://127.0.0.1:{service.admin_port}/metrics", timeout=60
        ) as page:
            page.read()
        return cost, memory_mb, time.monotonic() - began


def _backlogged(count: int, events: int) -> tuple[float, float]:
    """The same of a drain: everything is pending when the service starts."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as directory:
        service = RunningService(Path(directory), _sections(count))
        # Ten thousand requests to pause would only take time.
        paused = Path(directory) / "state" / FILE
        paused.parent.mkdir(mode=0o700)
        paused.write_text(json.dumps([f"c{n}" for n in range(count)]))
        try:
            service.start()
            _send(service, count, events)
            memory_mb = _memory_mb(service)
            service.stop()
            paused.unlink()
            service.start()
            before = bulkhead.cpu_s(service.pid)
            cost = (_cpu_s_when_empty(service) - before) / events * 1e6
            memory_mb = max(memory_mb, _memory_mb(service))
            service.stop()
        finally:
            service.kill()
        return cost, memory_mb


def _memory_mb(service: RunningService) -> float:
    return float(psutil.Process(service.pid).memory_info().rss / 1024**2)


def _cpu_s_when_empty(service: RunningService) -> float:
    """The supervisor's CPU when all is delivered; the question itself is not in it."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    asked_s = 0.0
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        before = bulkhead.cpu_s(service.pid)
        if service.books()["pending"] == 0:
            return before - asked_s
        asked_s += bulkhead.cpu_s(service.pid) - before
    raise TimeoutError(f"not all is delivered after {DRAIN_TIMEOUT_S:g} s")


def _send(service: RunningService, count: int, events: int) -> None:
    asyncio.run(_send_all(service.url, count, events // BATCH))


async def _send_all(url: str, count: int, requests: int) -> None:
    """Batches of a hundred, to each source in turn."""
    prefix = bulkhead.next_prefix()
    numbers = iter(range(requests))

    async def send(http: aiohttp.ClientSession) -> None:
        for number in numbers:
            batch = [
                {
                    "type": "track",
                    "messageId": f"{prefix}-{number}-{n}",
                    "userId": f"user-{n}",
                    "event": "Measured",
                    "properties": {"padding": "x" * 200},
                }
                for n in range(BATCH)
            ]
            key = base64.b64encode(f"key-{number % count}:".encode()).decode()
            headers = {"Authorization": f"Basic {key}"}
            async with http.post(f"{url}/v1/batch", json={"batch": batch}, headers=headers) as said:
                if said.status != 200:
                    raise RuntimeError(f"status {said.status}: {await said.text()}")

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(send(http))
