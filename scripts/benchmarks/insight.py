"""What it costs to keep samples, counts and causes: CPU around the calls, beside empty ones.

Owns the requests and batches that are told of, a million events a round in batches of 100 and one
by one, and the minute of many busy connections. Nothing is stored of them but what insight keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from scripts.benchmarks.comparison import Figure, difference
from supervisor.insight.disk import DiskUnavailable
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.insight.nothing import NOTHING, Nothing
from supervisor.insight.sample_records import MetBy
from supervisor.queue import Books, Counted, Delivery, NewEvent, Route
from supervisor.telemetry.latencies import Latencies

#: µs of CPU that an event and a request may cost.
EVENT_US, REQUEST_US = 0.3, 1.0
#: Events of a round, and of a batch.
EVENTS, BATCH = 1_000_000, 100
#: Events a second that the clock is moved for, in batches and one by one.
RATES = {BATCH: 50_000, 1: 10_000}
#: µs that an attempt which went wrong may cost, and how many there are of them in a round.
ATTEMPT_US, FAILED = 10.0, 20_000
#: Connections of the minute that is measured.
CONNECTIONS = 1_000

_BODY = b'{"type":"track","event":"Order Completed","properties":{"total":27.5}}' + b" " * 400
_FAILED_BODY = _BODY.rstrip()[:-1] + b',"context":"' + b"x" * 400 + b'","messageId":"%d-%d-%d"}'


class _Clock:
    """Moves by as much as the rate says, at each request."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.step_s = 0.0

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


class _Books:
    """Each connection's have moved whenever they are asked for."""

    def __init__(self) -> None:
        self.n = 0

    def counted_together(self) -> Counted:
        """Of all."""
        return self.counted("")

    def counted_connections(self) -> Sequence[str]:
        """All of them."""
        return [f"connection-{number}" for number in range(CONNECTIONS)]

    def counted(self, connection: str) -> Counted:
        """Of one."""
        self.n += 1
        return Counted(Books(accepted=self.n, delivered_first_try=self.n))


def run(*, rounds: int, events: int) -> list[Figure]:
    """One figure an event in batches, a request, an event delivered, a reason, and the minute."""
    with tempfile.TemporaryDirectory() as state_dir:
        return asyncio.run(_measure(Path(state_dir), rounds, events))


async def _measure(state_dir: Path, rounds: int, events: int) -> list[Figure]:
    clock, books, latencies = _Clock(), _Books(), Latencies("seconds", "text")
    insight = Insight(
        state_dir,
        queue=books,
        ages=latencies,
        clock=clock,
        tap_budget=8 << 20,
        trends_budget=64 << 20,
        masking=Masking("masked", [], b""),
        redact=str,
        wall=clock,
    )
    insight.start()
    with contextlib.suppress(DiskUnavailable):  # it was made for us, which is all we wait for
        await insight.disk.ask(_nothing)

    def beside_nothing(size: int) -> list[float]:
        """µs a request more than an empty call, over all rounds."""
        clock.step_s = size / RATES[size]
        batch = [NewEvent(f"id-{n}", "track", "u", _BODY, Route(("a",))) for n in range(size)]
        n = events // size
        costs = []
        for _ in range(rounds + 1):
            cost_s = _cost_s(partial(_took, insight, batch), n)
            costs.append((cost_s - _cost_s(partial(_took, NOTHING, batch), n)) * 1e6 / n)
        return costs[1:]  # the first one warms caches up

    per_batch, per_request = beside_nothing(BATCH), beside_nothing(1)
    received = [float(n // 50) for n in range(BATCH)]
    n = events // BATCH
    delivered = [
        _cost_s(lambda: latencies.observe_ages("a", received, 5.0), n) * 1e6 / events
        for _ in range(rounds + 1)
    ][1:]
    failed = [
        _cost_s(lambda: insight.troubled("a", "retry", "503 Service Unavailable: later", 1), 10_000)
        * 1e6
        / 10_000
        for _ in range(rounds + 1)
    ][1:]
    attempts = {size: _attempts_us(insight, clock, rounds, size) for size in (1, BATCH)}
    too_many = _attempts_us(insight, clock, rounds, BATCH, rate=10_000_000)
    clock.step_s = 0.0
    minutes = []
    for _ in range(rounds + 1):
        for name in books.counted_connections():
            latencies.observe_ages(name, received, 5.0)
        clock.now += 60
        started = time.thread_time()
        await insight.trends.book(clock.now - 1)
        minutes.append((time.thread_time() - started) * 1e3)
        await insight.disk.ask(_nothing)
    await insight.close()
    return [
        _figure("an event, in batches of 100", [us / BATCH for us in per_batch], "µs", EVENT_US),
        _figure("a request of 100 events", per_batch, "µs", REQUEST_US + BATCH * EVENT_US),
        _figure("a request of one event", per_request, "µs", REQUEST_US + EVENT_US),
        _figure("an event delivered (the histogram)", delivered, "µs", EVENT_US),
        _figure("a reason that was met before", failed, "µs", None),
        _figure("a failed attempt, each told alone", attempts[1], "µs", ATTEMPT_US),
        _figure("a failed attempt, of 100 in a batch", attempts[BATCH], "µs", ATTEMPT_US),
        _figure("one too many, of 100 in a batch", too_many, "µs", EVENT_US),
        _figure(f"the minute of {CONNECTIONS:,} busy connections", minutes[1:], "ms", None),
    ]


def _attempts_us(
    insight: Insight, clock: _Clock, rounds: int, size: int, rate: int = 400
) -> list[float]:
    """µs of an attempt that went wrong, with the ring full; `rate` of them a second."""
    clock.step_s = size / rate
    n = FAILED // size
    costs = []
    for round_ in range(rounds + 1):
        batches = [
            [Delivery(_FAILED_BODY % (round_, at, k), 2, 0.0, b"u") for k in range(size)]
            for at in range(n)
        ]
        told = iter(batches)

        def tell() -> None:
            met = next(told)  # noqa: B023 - it is called within this round
            one = MetBy(met[0].body, 2, "default-1", None)
            insight.troubled("a", "retry", "503 Service Unavailable: later", size, one, met)

        costs.append(_cost_s(tell, n) * 1e6 / FAILED)
    return costs[1:]


def _took(told: Insight | Nothing, batch: Sequence[NewEvent]) -> None:
    told.took("website", batch, (True,) * len(batch), 0)


def _cost_s(call: Callable[[], None], n: int) -> float:
    # CPU time of this thread: what others do on the machine is not in it.
    started = time.thread_time()
    for _ in range(n):
        call()
    return time.thread_time() - started


def _nothing(_: object) -> None:
    """To wait until the disk has done what was asked before."""


def _figure(name: str, costs: list[float], unit: str, goal: float | None) -> Figure:
    noise = difference(statistics.median(costs[::2]), statistics.median(costs[1::2]))
    return Figure.median(name, costs, unit, goal, is_more_better=False, noise=noise)
