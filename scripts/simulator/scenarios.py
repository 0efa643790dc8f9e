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
from scripts.simulator.figures import Result
from supervisor.core.scheduling.retry import RetryPolicy
from supervisor.core.scheduling.scheduler import Terms

TERMS = Terms(batch_events=100, batch_bytes=1 << 20, max_concurrency=8, linger_s=0.05)


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


@dataclass(frozen=True, slots=True)
class Outage:
    """Segment's partner outage at a hundredth of its size: 16,000 requests a second there.

    105 minutes with `success` as the part of good answers, then all is well again;
    the partner can take `capacity` times the usual traffic of `per_s` events a
    second. What is to spare has to be enough to make good for the outage within the
    retry window. Times are seconds.
    https://www.twilio.com/en-us/blog/developers/stories-from-the-field/centrifuge
    """

    per_s: float = 160.0
    before_s: float = 900.0
    outage_s: float = 105 * 60.0
    after_s: float = 3.5 * 3600.0
    success: float = 0.15
    capacity: float = 1.6

    @property
    def ends(self) -> float:
        """When all is well again."""
        return self.before_s + self.outage_s

    @property
    def until(self) -> float:
        """When it is over."""
        return self.ends + self.after_s

    @property
    def retry(self) -> RetryPolicy:
        """Delays that have to do with the length of the outage, as the usual ones have."""
        return RetryPolicy(4 * 3600.0, 1.0, min(600.0, self.outage_s / 10))

    @property
    def terms(self) -> Terms:
        """Of the connection to the partner."""
        return replace(TERMS, max_concurrency=24)

    @property
    def marks(self) -> tuple[tuple[float, str], ...]:
        """When it begins and ends, for the plot."""
        return (self.before_s, "outage"), (self.ends, "recovery")

    def partner(self) -> Limited:
        """The partner's endpoint."""

        def share(now: float) -> float:
            return self.success if self.before_s <= now < self.ends else 1.0

        return Limited(self.capacity * self.per_s, share, latency_s=0.1)


def outage(outage: Outage, *, guard: Guard, seed: int = 1) -> Result:
    """A partner's outage and what comes after it."""
    until = outage.until
    arrivals = steady(outage.per_s, until, 0.5)
    simulation = Simulation(
        [Connection("partner", outage.partner(), arrivals, outage.terms)],
        guard=guard,
        seed=seed,
        bucket_s=max(1.0, until / 900),
        retry=outage.retry,
    )
    simulation.run(until)
    title = f"partner outage at {outage.per_s:g} events/s, {guard.value}"
    return simulation.result(title, until, *outage.marks)


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
    return simulation.result(f"{connections} connections {beside}", seconds)


def bursts(*, days: float = 30.0, n: int = 10_000, seed: int = 1) -> Result:
    """A month of hourly bursts to a destination that takes 50 a second; beside it a quiet one."""
    until = days * 86_400.0
    terms = replace(TERMS, rate=50.0)
    simulation = Simulation(
        [
            Connection("bursts", Limited(60.0, latency_s=0.1), hourly(n, until), terms),
            Connection("quiet", Healthy(0.05), sparse(0.05, until), TERMS),
        ],
        seed=seed,
        bucket_s=60.0,
    )
    simulation.run(until + 3600.0)
    return simulation.result(f"{days:g} days of a burst of {n} each hour", until)


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
    return simulation.result(f"{healthy} healthy connections {beside}", seconds)
