"""A leaking connection is named before it matters, and healthy growth never is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.leak import POINTS, LeakWatch, Life, Point

MIB = 1024 * 1024
LEAST = 32 * MIB
START = 20 * MIB
#: Bytes that a worker uses beside its start, after so many events of each connection.
Grows = Callable[[dict[str, int], random.Random], float]


def watched(
    grows: Grows,
    *,
    seed: int,
    connections: tuple[str, ...] = ("a", "b", "c"),
    samples: int = 400,
    workers: int = 1,
    noise_bytes: float = 1.5 * MIB,
) -> LeakWatch:
    """Workers that run batches of all connections, several of them between two samples."""
    chance = random.Random(seed)
    watch = LeakWatch()
    for worker in range(workers):
        events = dict.fromkeys(connections, 0)
        for _ in range(samples):
            for name in connections:
                events[name] += 10 * chance.randrange(0, 5)
            # Garbage that is not collected yet lies above the floor, never below.
            used = START + grows(events, chance) + abs(chance.gauss(0, noise_bytes))
            watch.sampled(worker, int(used), events)
    return watch


def named(watch: LeakWatch) -> list[str]:
    return [leak.connection for leak in watch.leaks(LEAST)]


def leak_of(name: str, per_event_bytes: float) -> Grows:
    return lambda events, _: per_event_bytes * events[name]


@pytest.mark.parametrize("seed", range(10))
def test_leak_is_named_with_its_rate(seed: int) -> None:
    """Of three connections whose batches overlap in one worker, the one that leaks is named."""
    looks = [watched(leak_of("b", 20_000), seed=seed, samples=n) for n in range(200, 401, 50)]
    leak = next(leak for watch in looks for leak in watch.leaks(LEAST))
    assert leak.connection == "b"
    assert leak.per_event_bytes == pytest.approx(20_000, rel=0.3)
    assert leak.grown_bytes >= LEAST / 2


@pytest.mark.parametrize("seed", range(5))
def test_leak_is_named_beside_caches_that_fill(seed: int) -> None:
    """A healthy neighbour's cache does not hide it, and is not named with it."""

    def grows(events: dict[str, int], chance: random.Random) -> float:
        return 20_000 * events["a"] + 20 * MIB * (1 - math.exp(-events["b"] / 500))

    assert named(watched(grows, seed=seed, workers=2)) == ["a"]


def test_one_megabyte_a_batch_is_named_long_before_the_limit() -> None:
    """At 192 MiB of soft limit it has used a third of it by then."""
    watch = LeakWatch()
    for batch in range(1000):
        used = START + batch * MIB
        watch.sampled(1, used, {"a": batch * 10})
        if watch.leaks(LEAST):
            break
    assert used <= START + 64 * MIB


HEALTHY: dict[str, Grows] = {
    "steady": lambda events, chance: 0.0,
    "start-up": lambda events, chance: 40 * MIB * min(1.0, sum(events.values()) / 1000),
    "cache that fills": lambda events, chance: 100 * MIB * (1 - math.exp(-events["a"] / 1500)),
    "bounded cache": lambda events, chance: min(events["a"] * 8_000, 24 * MIB),
    "fragmentation": lambda events, chance: 1.0 * MIB * math.sqrt(sum(events.values())),
    "logarithm": lambda events, chance: 15 * MIB * math.log1p(sum(events.values())),
    "sawtooth": lambda events, chance: 60 * MIB * (sum(events.values()) % 3000) / 3000,
    "one jump": lambda events, chance: 80 * MIB * (events["b"] > 4000),
    "small leak": lambda events, chance: 1_000 * events["a"],
}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", HEALTHY)
def test_healthy_growth_is_not_named(shape: str, seed: int) -> None:
    """Caches that fill, fragmentation, start-up and saws are no leaks, whenever one looks."""
    for samples in (50, 120, 400):
        watch = watched(HEALTHY[shape], seed=seed, samples=samples)
        assert named(watch) == [], samples


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 4 * MIB),
    st.floats(0, 3 * MIB),
    st.integers(20, 300),
)
def test_noise_alone_is_never_a_leak(seed: int, noise: float, walk: float, samples: int) -> None:
    """Memory that wanders within bounds is nobody's, however it wanders."""
    at = 0.0

    def grows(events: dict[str, int], chance: random.Random) -> float:
        nonlocal at
        at = min(max(at + chance.uniform(-walk, walk), 0.0), float(LEAST) - MIB)
        return at

    assert named(watched(grows, seed=seed, samples=samples, noise_bytes=noise)) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 10_000)), max_size=500))
def test_a_life_stays_small_and_in_order(samples: list[tuple[int, int]]) -> None:
    """However long a worker lives, few points are kept of it."""
    life = Life()
    total = 0
    for used, events in samples:
        total += events
        life.sampled(Point(used, {"a": total}))
    assert len(life.points) < 2 * POINTS
    totals = [point.total for point in life.points]
    assert totals == sorted(totals)


def test_what_a_worker_showed_outlives_it_for_a_while() -> None:
    """A worker that was replaced for its leak leaves the verdict to its successor."""
    watch = watched(leak_of("b", 20_000), seed=1)
    watch.ended(0)
    assert named(watch) == ["b"]
    watch.forgotten()
    assert named(watch) == []
