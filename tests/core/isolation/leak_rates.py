"""How often the judgement over leaks is wrong, over many simulated workers: the table of LEAKS.md.

    python -m tests.core.isolation.leak_rates --seeds 5000

Owns the counts. Each line is a kind of worker, then each thing that may be said of it, in how many
of so many seeds it was. Must not assert anything: `test_leaks.py` does.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from unittest import mock

from supervisor.core.isolation import leaks
from supervisor.core.isolation.leaks import Findings, LeakWatch
from tests.core.isolation.leak_simulation import (
    HEALTHY,
    LEAST,
    MIB,
    SimulatedWorker,
    leak_of,
    named,
    same_events,
    sizes,
    watched,
)

#: Batches of each connection between two judgements. The service judges every two seconds.
JUDGED_EVERY = 5
#: Looks at a worker between two judgements, where batches are many between two looks.
LOOKS_BETWEEN = 20
#: What may be true of one seed, by what it is called in the table.
Said = Iterable[str]


def distinct(per_event_bytes: float, seed: int) -> Iterator[str]:
    """One of three connections leaks whose batches are not of the same events."""
    found: list[tuple[int, Findings]] = []

    def looked(sample: int, watch: LeakWatch) -> None:
        if sample % LOOKS_BETWEEN == 0:
            found.append((sample, watch.findings(LEAST)))

    watched(leak_of("b", per_event_bytes), seed=seed, looked=looked)
    first = None
    for sample, findings in found:
        for leak in findings.leaks:
            if leak.connection != "b":
                yield "an innocent named at some time"
            elif first is None:
                first = sample
                if abs(leak.per_event_bytes / per_event_bytes - 1) > 0.3:
                    yield "first rate off by more than three tenths"
        if findings.together:
            yield "told of a group at some time"
    for most in (100, 200, 300, 400):
        if first is not None and first <= most:
            yield f"named within {most} looks"
    last = {leak.connection for leak in found[-1][1].leaks}
    if "b" not in last:
        yield "not named at look 400"
    if last - {"b"}:
        yield "an innocent named at look 400"


def healthy(shape: str, seed: int) -> Iterator[str]:
    """Growth that is no leak, judged three times."""
    if any(named(watched(HEALTHY[shape], seed=seed, samples=n)) for n in (50, 120, 400)):
        yield "named"


def wandering(seed: int) -> Iterator[str]:
    """Memory that wanders within bounds."""
    chance = random.Random(seed)
    walk, noise = chance.uniform(0, 3 * MIB), chance.uniform(0, 4 * MIB)
    at = 0.0

    def grows(events: dict[str, int], of: random.Random) -> float:
        nonlocal at
        at = min(max(at + of.uniform(-walk, walk), 0.0), float(LEAST) - MIB)
        return at

    samples = chance.randrange(20, 300)
    if named(watched(grows, seed=seed, samples=samples, noise_bytes=noise)):
        yield "named"


def one_of_two(seed: int, leak_bytes: float = 300_000.0) -> Iterator[str]:
    """Two connections of one source, of which one leaks."""
    chance = random.Random(-seed)
    leaky = chance.choice(("a", "b"))
    said = same_events(
        seed,
        leaky=leaky,
        garbage_bytes=chance.uniform(0, 2 * MIB),
        leak_bytes=leak_bytes,
        judged_every=JUDGED_EVERY,
    )
    innocent = {"a", "b"} - {leaky}
    if said.early & innocent:
        yield "together: innocent named"
    if leaky in said.early:
        yield "together: leaky named"
    if said.together != {"a", "b"}:
        yield "together: not told of both"
    if said.ever & innocent:
        yield "alone: innocent named for a while"
    if innocent & said.last.keys():
        yield "alone: innocent named at the end"
    if leaky not in said.last:
        yield "alone: leaky not named at the end"
    elif abs(said.last[leaky] / leak_bytes - 1) > 0.2:
        yield "alone: rate off by more than a fifth"
    if said.in_question:
        yield "alone: still in question at the end"


def both(seed: int) -> Iterator[str]:
    """Two connections of one source, which leak alike."""
    chance = random.Random(seed)
    rates = {"a": 200_000.0, "b": 200_000.0}
    worker = SimulatedWorker(LeakWatch(), rates, chance, chance.uniform(0, MIB))
    for events in sizes(chance, 60):
        worker.both_at_once(events)
    for events in sizes(chance, 60):
        worker.one_by_one(events)
    found = worker.watch.findings(LEAST)
    if [leak.connection for leak in found.leaks] != ["a", "b"]:
        yield "not both named"
    if found.together:
        yield "still in question"


def neither(seed: int) -> Iterator[str]:
    """Two connections of one source, and garbage that comes and goes."""
    for is_alone in (False, True):
        chance = random.Random(seed)
        worker = SimulatedWorker(
            LeakWatch(), {"a": 0.0, "b": 0.0}, chance, chance.uniform(0, 4 * MIB)
        )
        for n, events in enumerate(sizes(chance, 100), 1):
            worker.one_by_one(events) if is_alone else worker.both_at_once(events)
            if n % JUDGED_EVERY == 0 and worker.watch.findings(LEAST) != Findings():
                yield "named or told of"
                break


def needy(seed: int) -> Iterator[str]:
    """One of two leaks, and the other needs more memory while it runs."""
    chance = random.Random(seed)
    rates = {"a": 15_000.0, "b": 0.0}
    worker = SimulatedWorker(LeakWatch(), rates, chance, needs={"b": 4 * MIB})
    for events in sizes(chance, 200):
        worker.one_by_one(events)
    if named(worker.watch):
        yield "named before it is seen twice in a row"
    ever: set[str] = set()
    for n, events in enumerate(sizes(chance, 100), 1):
        worker.one_by_one(events, times=20)
        if n % JUDGED_EVERY == 0:
            ever |= set(named(worker.watch))
    if "b" in ever:
        yield "innocent named"
    if named(worker.watch) != ["a"]:
        yield "leaky not named at the end"


def without_groups(seed: int) -> Iterator[str]:
    """The same two connections, where nobody looks whether counts of events go alike."""
    with mock.patch.object(leaks, "_are_alike", return_value=False):
        yield from one_of_two(seed)


CASES: Mapping[str, Callable[[int], Said]] = {
    "distinct, 20 kB an event": lambda seed: distinct(20_000, seed),
    "distinct, 10 kB an event": lambda seed: distinct(10_000, seed),
    **{
        f"healthy: {shape}": lambda seed, shape=shape: healthy(shape, seed)  # type: ignore[misc] # a default binds it
        for shape in HEALTHY
    },
    "healthy: wandering": wandering,
    "same events, one leaks": one_of_two,
    "same events, one leaks, no groups": without_groups,
    "same events, both leak": both,
    "same events, none leaks": neither,
    "same events, the other needs more": needy,
}


def main() -> None:
    """Count, and print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--case", choices=CASES, action="append")
    arguments = parser.parse_args()
    for case in arguments.case or CASES:
        counts: Counter[str] = Counter()
        for seed in range(arguments.seeds):
            counts.update(set(CASES[case](seed)))
        said = ", ".join(f"{what}: {n}" for what, n in sorted(counts.items())) or "none of it"
        print(f"{case} ({arguments.seeds} seeds): {said}", flush=True)


if __name__ == "__main__":
    main()
