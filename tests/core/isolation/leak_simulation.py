"""Simulated workers whose memory grows: healthily, by a leak, by that of one of two connections.

What a copy would count is simulated with it.

Owns the shapes of growth that the judgement over leaks is tested and measured by
(`test_leaks.py`, `leak_rates.py`). All that is random comes from a seed.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from supervisor.core.isolation.holdings import Count
from supervisor.core.isolation.leaks import Findings, LeakWatch

MIB = 1024 * 1024
LEAST = 32 * MIB
START = 20 * MIB
#: Bytes that a worker uses beside its start, after so many events of each connection.
Grows = Callable[[dict[str, int], random.Random], float]
#: Who holds so many bytes, when a copy counts.
HeldBy = Callable[[float], Mapping[str, Mapping[str, int]]]
#: Every connection feeds this destination.
DESTINATION = "d"


def by_instance(name: str) -> HeldBy:
    """The instance of a connection."""
    return lambda held: {"connections": {name: int(held)}}


def by_library(held: float) -> Mapping[str, Mapping[str, int]]:
    """A library that all use."""
    return {"shared": {"libraries": int(held)}}


def by_module(held: float) -> Mapping[str, Mapping[str, int]]:
    """The destination's module."""
    return {"destinations": {(DESTINATION,): int(held)}}  # type: ignore[dict-item] # by several names


def unseen(held: float) -> Mapping[str, Mapping[str, int]]:
    """Nobody that a copy could see: memory of C code."""
    return {}


def judged(watch: LeakWatch) -> Findings:
    """What is said of it now."""
    return watch.findings(LEAST, dict.fromkeys(watch_names(watch), DESTINATION))


def watch_names(watch: LeakWatch) -> set[str]:
    """Connections that have worked."""
    lives = (*watch.past, *watch.lives.values())
    return {name for life in lives for point in life.points[-1:] for name in point.events}


def look(
    watch: LeakWatch,
    worker: int,
    used: int,
    events: Mapping[str, int],
    *,
    held: float,
    held_by: HeldBy,
    running: Iterable[str],
) -> None:
    """A sample, and a count of what is held where one is due."""
    watch.sampled(worker, used, events, running)
    if watch.is_count_due(worker, used, LEAST):
        watch.counted(worker, Count(used, dict(events), **held_by(held)))  # type: ignore[arg-type] # as above


def watched(
    grows: Grows,
    *,
    seed: int,
    connections: tuple[str, ...] = ("a", "b", "c"),
    samples: int = 400,
    workers: int = 1,
    noise_bytes: float = 1.5 * MIB,
    held_by: HeldBy = unseen,
    looked: Callable[[int, LeakWatch], None] = lambda _sample, _watch: None,
) -> LeakWatch:
    """Workers that run batches of all connections, several of them between two samples.

    `looked` is called with the number of each sample, from 1, once it is taken.
    """
    chance = random.Random(seed)
    watch = LeakWatch()
    for worker in range(workers):
        events = dict.fromkeys(connections, 0)
        for sample in range(1, samples + 1):
            for name in connections:
                events[name] += 10 * chance.randrange(0, 5)
            # Garbage that is not collected yet lies above the floor, never below.
            held = grows(events, chance)
            used = int(START + held + abs(chance.gauss(0, noise_bytes)))
            look(watch, worker, used, events, held=held, held_by=held_by, running=connections)
            looked(sample, watch)
    return watch


def named(watch: LeakWatch) -> list[str]:
    """Connections that are said to leak."""
    return [leak.connection for leak in judged(watch).leaks]


def leak_of(name: str, per_event_bytes: float) -> Grows:
    """Each event of one connection leaves so much behind."""
    return lambda events, _: per_event_bytes * events[name]


#: Growth that is no leak, by what it looks like.
HEALTHY: Mapping[str, Grows] = {
    "steady": lambda events, chance: 0.0,
    "start-up": lambda events, chance: 40 * MIB * min(1.0, sum(events.values()) / 1000),
    "cache that fills": lambda events, chance: 100 * MIB * (1 - math.exp(-events["a"] / 1500)),
    "bounded cache": lambda events, chance: min(events["a"] * 8_000, 24 * MIB),
    "fragmentation": lambda events, chance: 1.0 * MIB * math.sqrt(sum(events.values())),
    "logarithm": lambda events, chance: 15 * MIB * math.log1p(sum(events.values())),
    "sawtooth": lambda events, chance: 60 * MIB * (sum(events.values()) % 3000) / 3000,
    "buffer": lambda events, chance: 24 * MIB * (events["a"] % 3000) / 3000,
    "work in memory": lambda events, chance: chance.uniform(0, 60 * MIB),
    "one jump": lambda events, chance: 80 * MIB * (events["b"] > 4000),
    "small leak": lambda events, chance: 1_000 * events["a"],
}


@dataclass
class SimulatedWorker:
    """A worker of which two connections get the same events, looked at whenever one has ended."""

    watch: LeakWatch
    rates: dict[str, float]
    chance: random.Random
    garbage_bytes: float = 0.0
    #: Bytes that a batch of each needs while it runs, and that it leaves to others when it ends.
    needs: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    kept: float = 0.0
    touched: float = 0.0
    held_by: HeldBy = by_module

    def look(self, *running: str) -> None:
        """A sample."""
        garbage = abs(self.chance.gauss(0, self.garbage_bytes))
        used = int(START + self.touched + garbage)
        look(
            self.watch,
            0,
            used,
            self.done,
            held=self.kept,
            held_by=self.held_by,
            running=running,
        )

    def work(self, name: str, events: int) -> None:
        """A batch of one connection from its begin to its end."""
        self.kept += self.rates[name] * events
        self.touched = max(self.touched, self.kept + self.needs.get(name, 0))
        self.done[name] += events

    def both_at_once(self, events: int) -> None:
        """Batches of the same events, which run beside one another."""
        first, then = self.chance.sample(["a", "b"], 2)
        part = self.chance.random()
        self.kept += self.rates[then] * events * part  # before the other has ended
        self.work(first, events)
        self.look(then)
        self.kept -= self.rates[then] * events * part
        self.work(then, events)
        self.look()

    def one_by_one(self, events: int, times: int = 1) -> None:
        """The same, so that each is seen alone."""
        for name in self.chance.sample(["a", "b"], 2):
            for _ in range(times):
                self.work(name, events)
                self.look()


def sizes(chance: random.Random, times: int) -> list[int]:
    """Events of so many batches."""
    return [chance.randrange(1, 40) for _ in range(times)]


@dataclass(frozen=True)
class SameEvents:
    """What was said of two connections of one source of which one leaks.

    First their batches ran beside one another, then each alone. `early` are those named at any
    judgement before any was seen alone, `together` those in question by then, `ever` those named
    at any judgement after it; `last` is each that is named at the end, with its bytes an event, and
    `in_question` those in question then.
    """

    early: frozenset[str]
    together: frozenset[str]
    ever: frozenset[str]
    last: Mapping[str, float]
    in_question: frozenset[str]


def same_events(
    seed: int,
    *,
    leaky: str,
    garbage_bytes: float,
    leak_bytes: float = 300_000.0,
    judged_every: int = 1,
    held_by: HeldBy = by_module,
) -> SameEvents:
    """Two connections of one source: 100 batches of both, then 100 of each, judged after each."""
    chance = random.Random(seed)
    rates = {"a": 0.0, "b": 0.0} | {leaky: leak_bytes}
    worker = SimulatedWorker(LeakWatch(), rates, chance, garbage_bytes, held_by=held_by)
    early: set[str] = set()
    together: set[str] = set()
    for n, events in enumerate(sizes(chance, 100), 1):
        worker.both_at_once(events)
        if n % judged_every:
            continue
        findings = judged(worker.watch)
        early |= {leak.connection for leak in findings.leaks}
        together |= {name for group in findings.together for name in group.connections}
    ever: set[str] = set()
    for n, events in enumerate(sizes(chance, 100), 1):
        worker.one_by_one(events)
        if n % judged_every:
            continue
        findings = judged(worker.watch)
        ever |= {leak.connection for leak in findings.leaks}
    return SameEvents(
        frozenset(early),
        frozenset(together),
        frozenset(ever),
        {leak.connection: leak.per_event_bytes for leak in findings.leaks},
        frozenset(name for group in findings.together for name in group.connections),
    )
