"""Row `outage`: a partner's outage as the real service lives through it, and as the simulator does.

Owns the scenario's size and what has to hold: in no second more retries than
were proven, and a backlog that drains. What came is counted by the partner,
what was proven and what is pending is read from `/status`; the simulation is of
the same scenario, with the same model of the partner.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.outage_partner import Partner, Record
from scripts.simulator import report, scenarios
from scripts.simulator.engine import Guard
from scripts.simulator.figures import Figures, Result
from scripts.simulator.scenarios import Outage
from tests.harness.service import WRITE_KEY, RunningService

CONNECTION = "partner"
#: Events of a request.
BATCH = 8
#: Seconds between two looks at `/status`.
LOOK_S = 0.25
#: Seconds that a run goes on after the backlog is gone.
CALM_S = 3.0
#: Seconds that what is on its way at the end may take.
LAST_S = 30.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What `/status` said then (seconds of the wall clock)."""

    at: float
    pending: int
    proven_per_s: float


@dataclass(slots=True)
class _Notes:
    """What was seen from our side; `sent` are times and numbers of accepted events."""

    sent: list[tuple[float, int]] = field(default_factory=list)
    looks: list[_Look] = field(default_factory=list)


def run(outage: Outage, plot: Path | None) -> tuple[Sequence[Figure], bool]:
    """The figures, and whether what has to hold did; `after_s` is the longest that is waited."""
    with Partner(outage) as partner:
        sections = _sections(outage, partner.url)
        with bulkhead.running(sections) as service:
            notes = asyncio.run(_live(outage, service))
            with contextlib.suppress(TimeoutError):  # then the figures tell what is left
                service.wait_for(lambda books: books["pending"] == 0, within_s=LAST_S)
            counted = _attempts(service)
            left = service.books()["pending"]
        record = partner.record()
    real = _drawn(outage, notes, record, left)
    simulated = scenarios.outage(outage, guard=Guard.ALL)
    console = Console()
    for result in (real, simulated):
        report.show(result, console)
    if plot is not None:
        report.plot([real, simulated], plot)
        console.print(f"plot: {plot}")
    figures = [*_judged(outage, "real", real), *_judged(outage, "simulated", simulated)]
    figures.append(
        Figure(
            "arrived to attempts counted",
            len(record.arrivals) / counted,
            "x",
            1.0,
            False,
            0.0,
            f"{len(record.arrivals)} requests came, {counted} attempts are in the metrics",
        )
    )
    is_sound = all(f.goal is None or f.value <= f.goal for f in figures)
    return figures, is_sound


def _sections(outage: Outage, url: str) -> dict[str, dict[str, object]]:
    """A service with one connection, on the simulated one's terms."""
    retry, terms = outage.retry, outage.terms
    return {
        "retry": {
            "window": f"{retry.window_s:g}s",
            "first_delay": f"{retry.first_delay_s * 1000:.0f}ms",
            "max_delay": f"{retry.max_delay_s * 1000:.0f}ms",
        },
        "pools.default": {
            "destinations": ["*"],
            "allow": [url.removeprefix("http://").rstrip("/")],
        },
        f"connections.{CONNECTION}": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": url},
            "max_concurrency": terms.max_concurrency,
            "batch_events": terms.batch_events,
            "linger": f"{terms.linger_s * 1000:.0f}ms",
        },
    }


async def _live(outage: Outage, service: RunningService) -> _Notes:
    """Send until the outage is over and what it held up is delivered, or time is up."""
    notes = _Notes()
    async with aiohttp.ClientSession() as http:
        sending = asyncio.create_task(_send(outage, service, http, notes))
        try:
            began, calm = time.time(), 0.0
            while time.time() < began + outage.until and calm < CALM_S:
                await asyncio.sleep(LOOK_S)
                look = await _look(service, http)
                notes.looks.append(look)
                is_over = time.time() > began + outage.ends + 1.0
                calm = calm + LOOK_S if is_over and look.pending <= outage.per_s else 0.0
                if sending.done():
                    break
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # we have asked for it
                await sending
    return notes


async def _look(service: RunningService, http: aiohttp.ClientSession) -> _Look:
    async with http.get(f"http://127.0.0.1:{service.admin_port}/status") as answer:
        status = await answer.json()
    (queue,) = status["queues"]
    return _Look(time.time(), queue["depth"], queue["proven_per_s"])


async def _send(
    outage: Outage, service: RunningService, http: aiohttp.ClientSession, notes: _Notes
) -> None:
    """A few events at a time, at an even rate."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(math.ceil(outage.until * outage.per_s / BATCH)):
        await asyncio.sleep(began + number * BATCH / outage.per_s - loop.time())
        batch = [
            {"type": "track", "messageId": f"{number}-{n}", "userId": f"u{n}", "event": "Measured"}
            for n in range(BATCH)
        ]
        url = f"{service.url}/v1/batch"
        async with http.post(url, json={"batch": batch}, headers=headers) as said:
            if said.status != 200:
                raise RuntimeError(f"status {said.status}: {await said.text()}")
        notes.sent.append((time.time(), BATCH))


def _attempts(service: RunningService) -> int:
    """Attempts at deliveries, as the service itself has counted them."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{service.admin_port}/metrics", timeout=60
    ) as answer:
        page = answer.read()
    return round(
        sum(
            sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
            if sample.name == "bulkhead_attempts_total"
        )
    )


def _drawn(outage: Outage, notes: _Notes, record: Record, left: int) -> Result:
    """The run as the simulator would have told it."""
    figures = Figures(1.0)
    for look in notes.looks:
        at = max(0.0, look.at - record.began)
        figures.pending(look.pending, at)
        figures.proved(look.proven_per_s, at)
    for wall, n in notes.sent:
        figures.arrived(n, max(0.0, wall - record.began))
    for came in record.arrivals:
        figures.sent(1, came.at, retries=came.is_again)
        if came.was_taken:
            figures.delivered(1, came.at - came.age_s, came.at, retries=came.is_again)
    until = notes.looks[-1].at - record.began
    title = f"partner outage at {outage.per_s:g} events/s, the real service"
    return Result(title, {CONNECTION: figures}, {CONNECTION: left}, until, outage.marks)


def _judged(outage: Outage, what: str, result: Result) -> list[Figure]:
    figures = result.figures[CONNECTION]
    ratio = figures.retries_to_proven(outage.before_s, result.until)
    drained_at = figures.drained_at(outage.ends, result.until, int(outage.per_s))
    took_s = math.inf if drained_at is None else drained_at - outage.ends
    worst = f"at most {figures.worst_pending:,} pending"
    return [
        Figure(f"{what}: retries to proven rate", ratio, "x in a second", 1.0, False, 0.0),
        Figure(f"{what}: drained after", took_s, "s", outage.after_s, False, 0.0, worst),
    ]
