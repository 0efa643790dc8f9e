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

from supervisor.core.isolation.leaks import Findings, LeakWatch
from tests.core.isolation.leak_simulation import (
    HEALTHY,
    LEAST,
    MIB,
    HeldBy,
    SimulatedWorker,
    by_instance,
    by_library,
    by_module,
    judged,
    leak_of,
    named,
    same_events,
    sizes,
    unseen,
    watched,
)

#: Batches of each connection between two judgements. The service judges every two seconds.
JUDGED_EVERY = 5
#: Looks at a worker between two judgements, where batches are many between two looks.
LOOKS_BETWEEN = 10
HOLDERS: Mapping[str, HeldBy] = {
    "an instance": by_instance("a"),
    "a module": by_module,
    "a library": by_library,
    "nobody to be seen": unseen,
}
#: What may be true of one seed, by what it is called in the table.
Said = Iterable[str]


def instance(per_event_bytes: float, seed: int) -> Iterator[str]:
    """The instance of one of three connections leaks."""
    chance = random.Random(-seed)
    first: list[int] = []
    innocent: list[int] = []

    def looked(sample: int, watch: LeakWatch) -> None:
        if sample % LOOKS_BETWEEN == 0:
            found = named(watch)
            if "b" in found and not first:
                first.append(sample)
            if set(found) - {"b"}:
                innocent.append(sample)
            if first and "b" not in found:
                first[1:] = [sample]

    watch = watched(
        leak_of("b", per_event_bytes),
        seed=seed,
        samples=600,
        noise_bytes=chance.uniform(0, 8 * MIB),
        held_by=by_instance("b"),
        looked=looked,
    )
    if innocent:
        yield "an innocent named at some time"
    for most in (1.5, 2, 3, 4):
        if first and first[0] * 20 * per_event_bytes <= most * LEAST:
            yield f"named within {most:g} L"
    if not first:
        yield "never named"
    if len(first) > 1:
        yield "its name taken back"
    for leak in judged(watch).leaks:
        if abs(leak.per_event_bytes / per_event_bytes - 1) > 0.1:
            yield "rate off by more than a tenth"


def healthy(shape: str, held_by: HeldBy, seed: int) -> Iterator[str]:
    """Growth that is no leak, judged again and again."""
    found: set[str] = set()

    def looked(sample: int, watch: LeakWatch) -> None:
        if sample % LOOKS_BETWEEN == 0:
            found.update(named(watch))

    watch = watched(HEALTHY[shape], seed=seed, held_by=held_by, looked=looked)
    if found:
        yield "named at some time"
    if named(watch):
        yield "named at look 400"


def wandering(held_by: HeldBy, seed: int) -> Iterator[str]:
    """Memory that wanders within bounds."""
    chance = random.Random(seed)
    walk, noise = chance.uniform(0, 3 * MIB), chance.uniform(0, 4 * MIB)
    at = 0.0

    def grows(events: dict[str, int], of: random.Random) -> float:
        nonlocal at
        at = min(max(at + of.uniform(-walk, walk), 0.0), float(LEAST) - MIB)
        return at

    samples = chance.randrange(20, 300)
    if named(watched(grows, seed=seed, samples=samples, noise_bytes=noise, held_by=held_by)):
        yield "named"


def one_of_two(held_by: HeldBy, seed: int, leak_bytes: float = 300_000.0) -> Iterator[str]:
    """Two connections of one source, of which one leaks where no count parts them."""
    chance = random.Random(-seed)
    leaky = chance.choice(("a", "b"))
    said = same_events(
        seed,
        leaky=leaky,
        garbage_bytes=chance.uniform(0, 2 * MIB),
        leak_bytes=leak_bytes,
        judged_every=JUDGED_EVERY,
        held_by=held_by,
    )
    innocent = {"a", "b"} - {leaky}
    if said.early:
        yield "together: somebody named"
    if said.together != {"a", "b"}:
        yield "together: not told of both"
    if said.ever & innocent:
        yield "alone: innocent named"
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
    found = judged(worker.watch)
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
            if n % JUDGED_EVERY == 0 and judged(worker.watch) != Findings():
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


CASES: Mapping[str, Callable[[int], Said]] = {
    "an instance leaks, 20 kB an event": lambda seed: instance(20_000, seed),
    "an instance leaks, 10 kB an event": lambda seed: instance(10_000, seed),
    **{
        f"healthy: {shape}, held by {who}": lambda seed, shape=shape, holder=holder: healthy(  # type: ignore[misc] # defaults bind them
            shape, holder, seed
        )
        for shape in HEALTHY
        for who, holder in HOLDERS.items()
    },
    **{
        f"healthy: wandering, held by {who}": lambda seed, holder=holder: wandering(holder, seed)  # type: ignore[misc] # as above
        for who, holder in HOLDERS.items()
    },
    "same events, one leaks in their module": lambda seed: one_of_two(by_module, seed),
    "same events, one leaks unseen": lambda seed: one_of_two(unseen, seed),
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
