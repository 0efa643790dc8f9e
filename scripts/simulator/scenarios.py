"""The scenarios: who sends what to which destinations, for how long.

Each can be made shorter and smaller for a test; what it shows stays the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from scripts.simulator.destinations import (
    Failing,
    Hanging,
    Healthy,
    Limited,
    Model,
    Refusing,
    Throttling,
)
from scripts.simulator.engine import Arrivals, Connection, Guard, Simulation
from supervisor.core.retry import RetryPolicy
from supervisor.core.scheduler import Terms

TERMS = Terms(batch_events=100, batch_bytes=1 << 20, max_concurrency=8, linger_s=0.05)


@dataclass(frozen=True, slots=True)
class Result:
    """A simulation that has run until that second; `marks` are times worth a line in the plot."""

    title: str
    simulation: Simulation
    until: float
    marks: tuple[tuple[float, str], ...] = ()


def steady(per_s: float, until: float, every_s: float = 0.1) -> Callable[[random.Random], Arrivals]:
    """So many events a second, a few at a time."""

    def arrivals(chance: random.Random) -> Iterator[tuple[float, int]]:
        now, owed = chance.random() * every_s, 0.0
        while now < until:
            owed += per_s * every_s
            n = int(owed)
            if n:
                owed -= n
                yield now, n
            now += every_s * (0.5 + chance.random())

    return arrivals


def sparse(per_s: float, until: float) -> Callable[[random.Random], Arrivals]:
    """Single events, so many a second on average."""

    def arrivals(chance: random.Random) -> Iterator[tuple[float, int]]:
        now = chance.expovariate(per_s)
        while now < until:
            yield now, 1
            now += chance.expovariate(per_s)

    return arrivals


def hourly(n: int, until: float) -> Callable[[random.Random], Arrivals]:
    """A burst at each full hour."""

    def arrivals(chance: random.Random) -> Iterator[tuple[float, int]]:
        hour = 0
        while hour * 3600.0 < until:
            yield hour * 3600.0 + chance.random(), n
            hour += 1

    return arrivals


def outage(
    *,
    guard: Guard,
    per_s: float = 160.0,
    before_s: float = 900.0,
    outage_s: float = 105 * 60.0,
    after_s: float = 2 * 3600.0,
    success: float = 0.15,
    capacity: float = 1.25,
    seed: int = 1,
) -> Result:
    """Segment's partner outage at a hundredth of its size: 16,000 requests a second there.

    105 minutes with 15 % of successes, then all is well again; the partner can
    take a quarter more than the usual traffic.
    https://www.twilio.com/en-us/blog/developers/stories-from-the-field/centrifuge
    """
    ends = before_s + outage_s
    until = ends + after_s

    def share(now: float) -> float:
        return success if before_s <= now < ends else 1.0

    partner = Limited(capacity * per_s, share, latency_s=0.1)
    terms = replace(TERMS, max_concurrency=24)
    simulation = Simulation(
        [Connection("partner", partner, steady(per_s, until, 0.5), terms)],
        guard=guard,
        seed=seed,
        bucket_s=max(1.0, until / 900),
        retry=RetryPolicy(4 * 3600.0, 1.0, min(600.0, outage_s / 10)),
    )
    simulation.run(until)
    title = f"partner outage at {per_s:g} events/s, {guard.value}"
    return Result(title, simulation, until, ((before_s, "outage"), (ends, "recovery")))


def giant(
    *,
    connections: int = 10_000,
    per_s: float = 4000.0,
    seconds: float = 30.0,
    with_giant: bool = True,
    seed: int = 1,
) -> Result:
    """Ten thousand connections, of which one has half of the traffic."""
    many = [
        Connection(f"c{n}", Healthy(0.03), sparse(per_s / 2 / connections, seconds), TERMS)
        for n in range(connections)
    ]
    if with_giant:
        model = Healthy(0.03, per_event_s=0.0002)
        many.append(Connection("giant", model, steady(per_s / 2, seconds), TERMS))
    simulation = Simulation(many, workers=8, seed=seed)
    simulation.run(seconds + 60.0)
    beside = "beside one with half of the traffic" if with_giant else "alone"
    return Result(f"{connections} connections {beside}", simulation, seconds)


def bursts(*, days: float = 30.0, n: int = 10_000, seed: int = 1) -> Result:
    """A month of hourly bursts to a destination that takes 50 a second; beside it a quiet one."""
    until = days * 86_400.0
    terms = replace(TERMS, rate=50.0)
    simulation = Simulation(
        [
            Connection("bursts", Limited(60.0, latency_s=0.1), hourly(n, until), terms),
            Connection("quiet", Healthy(0.05), sparse(0.2, until), TERMS),
        ],
        seed=seed,
        bucket_s=60.0,
    )
    simulation.run(until + 3600.0)
    return Result(f"{days:g} days of a burst of {n} each hour", simulation, until)


#: The sick endpoints, by name: which one, and what it is.
SICK: dict[str, Callable[[], Model]] = {
    "hanging": Hanging,
    "one-a-second": lambda: Limited(1.0, timeout_s=10.0),
    "retry-after": lambda: Throttling(events=10, retry_after_s=30.0),
    "failing": lambda: Failing(until=600.0),
    "refusing": Refusing,
}


def sick(
    kind: str | None,
    *,
    seconds: float = 900.0,
    per_s: float = 40.0,
    healthy: int = 9,
    seed: int = 1,
) -> Result:
    """Nine healthy connections in a pool, beside one of the sick ones or (None) none."""
    connections = [
        Connection(f"healthy-{n}", Healthy(0.05), steady(per_s, seconds), TERMS)
        for n in range(healthy)
    ]
    if kind is not None:
        connections.append(Connection(kind, SICK[kind](), steady(per_s, seconds), TERMS))
    simulation = Simulation(connections, workers=1, seed=seed)
    simulation.run(seconds)
    beside = "alone" if kind is None else f"beside one that is {kind}"
    return Result(f"{healthy} healthy connections {beside}", simulation, seconds)
