"""Row `blast`: what one misbehaving connection of ten costs the other nine.

Owns the row's service and its goals. Every event goes to all ten connections, which share
workers and deliver to one local sink; the load is 30 % of what ten that behave
were just seen to carry. In the one run the first of them has a habit of the
torture list, or something around the service is wrong (`surroundings`), in the other
nothing is. Ages are taken at the sink, from receipt to arrival.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import click

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Beside, Figure, beside
from scripts.benchmarks.latency_sink import STEP_MS, LatencySink, percentile_ms
from scripts.benchmarks.load import Load
from scripts.benchmarks.surroundings import (
    AS_USUAL,
    Around,
    Surroundings,
    no_descriptors,
    nobody_reads,
    nothing_wrong,
)
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.torture.rows import PLUGINS as HABITS
from tests.torture.rows import ROWS

GOAL_THROUGHPUT = 0.99
#: p99 beside that of ten that behave: so many times, or so many milliseconds more, in that share
#: of the rows.
GOAL_P99, GOAL_P99_MS, GOAL_ROWS = 1.25, 5.0, 0.9
CONNECTIONS = 10
SHARE_OF_CAPACITY = 0.3
#: An event that is older when it arrives has waited for the bad one; in milliseconds.
LATE_MS = 100
#: Longest wait until the nine have everything, in seconds.
PATIENCE_S = 60.0
#: The connection that may misbehave, and how often it does so: one event of so many.
BAD, ONE_OF = "c0", 100
NINE = tuple(f"c{number}" for number in range(1, CONNECTIONS))


@dataclass(frozen=True)
class Case:
    """What the bad connection does at one event of `one_of`, and what is wrong around all."""

    habit: str | None
    one_of: int = ONE_OF
    pool: Mapping[str, object] = field(default_factory=dict)
    around: Around = nothing_wrong


#: Beside the rows of the list.
CASES = {
    "at-every-event": Case("exits", one_of=1),
    "stuck-log": Case("logs_without_end", around=nobody_reads),
    "no-descriptors": Case(None, around=no_descriptors),
}


@dataclass(frozen=True)
class Run:
    """What the nine got in one run: events a second, and their ages; `late` is a share."""

    rate: float
    p99_ms: float
    worst_ms: int
    late: float
    story: str


def names() -> list[str]:
    """What `--rows` may name."""
    return [*(row.name for row in ROWS), *CASES]


def run(*, rows: Sequence[str], seconds: float, pairs: int) -> Sequence[Figure]:
    """Each run lasts `seconds`; `rows` are names, none for all.

    Rows whose pool has the same limits are compared with the same runs of ten that behave.
    """
    groups: dict[str, list[str]] = {}
    for name in rows or names():
        groups.setdefault(str(_case(name).pool), []).append(name)
    runs = pairs * sum(len(group) + 2 for group in groups.values())
    with (
        LatencySink() as sink,
        click.progressbar(length=runs, label="runs", file=sys.stderr) as bar,
    ):
        capacity = capacity_of(sink)
        rate = capacity * SHARE_OF_CAPACITY
        figures = [Figure("offered load", rate, "events/s", None, True, 0.0)]
        near: list[bool] = []
        for group in groups.values():
            measure = partial(_measure, sink, rate, seconds)
            many = {name: partial(measure, _case(name)) for name in group}
            good = partial(measure, Case(None, pool=_case(group[0]).pool))
            for name, found in beside(many, good, pairs, lambda: bar.update(1)).items():
                figures += _figures(name, found)
                near.append(found.ratio(_p99) <= _most_times(found))
    share = sum(near) / len(near)
    told = f"{sum(near)} of {len(near)}: at most {GOAL_P99} times, or {GOAL_P99_MS:g} ms more"
    return [*figures, Figure("rows whose p99 is near", share, "", GOAL_ROWS, True, 0.0, told)]


def _case(name: str) -> Case:
    if name in CASES:
        return CASES[name]
    (row,) = [row for row in ROWS if row.name == name]
    return Case(row.habit, pool=row.pool)


def _figures(name: str, found: Beside[Run]) -> list[Figure]:
    bad, good = found.a[-1], found.b[-1][1]

    def figure(what: str, of: Callable[[Run], float], goal: float, detail: str) -> Figure:
        is_more_better = goal < 1
        return Figure(
            f"{name}: {what}", found.ratio(of), "x", goal, is_more_better, found.noise(of), detail
        )

    return [
        figure("throughput", lambda run: run.rate, GOAL_THROUGHPUT, bad.story),
        figure(
            "p99",
            _p99,
            _most_times(found),
            f"{bad.p99_ms:.0f} ms beside {good.p99_ms:.0f} ms in the last round, the oldest"
            f" {bad.worst_ms} beside {good.worst_ms}; {bad.late:.2%} above {LATE_MS} ms",
        ),
    ]


def _p99(run: Run) -> float:
    return run.p99_ms


def _most_times(found: Beside[Run]) -> float:
    """How many times the p99 of those that behave it may be."""
    good_ms = statistics.median(_p99(run) for pair in found.b for run in pair)
    return max(GOAL_P99, 1 + GOAL_P99_MS / good_ms)


@contextlib.contextmanager
def service(
    sink: LatencySink,
    pool: Mapping[str, object],
    habits: Mapping[str, str | None],
    one_of: int,
    around: Surroundings = AS_USUAL,
) -> Iterator[RunningService]:
    """A service whose connections deliver to the sink; `habits` by connection, None behaves."""
    address = sink.url.removeprefix("http://").rstrip("/")
    sections: dict[str, dict[str, object]] = {
        "service": {
            "plugin_paths": [str(HABITS)],
            "drain_timeout": "1s",  # what the bad one still has is of no interest
        },
        "retry": {"first_delay": "1s", "max_delay": "10s"},
        "pools.default": {"destinations": ["*"], "workers": 2, "allow": [address], **pool},
    }
    for name, habit in habits.items():
        destination = f"blast-{name}"
        sections[f"destinations.{destination}"] = {"class": "torture:Blast"}
        settings: dict[str, object] = {"url": f"{sink.url}{name}", "one_of": one_of}
        if habit is not None:
            settings["habit"] = habit
        sections[f"connections.{name}"] = {
            "source": "test",
            "destination": destination,
            "settings": settings,
        }
    with bulkhead.running(sections, output=around.output, prefix=around.prefix) as running:
        yield running


def capacity_of(sink: LatencySink, connections: int = CONNECTIONS) -> float:
    """Events/s that so many connections that behave carry, each event as often."""
    names = [f"c{number}" for number in range(connections)]
    with service(sink, {}, dict.fromkeys(names), ONE_OF) as running:
        bulkhead.run_load(running, seconds=1.0, fan_out=connections)
        return bulkhead.run_load(running, seconds=3.0, fan_out=connections).rate


def _measure(sink: LatencySink, rate: float, seconds: float, case: Case) -> Run:
    habits = {BAD: case.habit, **dict.fromkeys(NINE)}
    with (
        case.around() as around,
        service(sink, case.pool, habits, case.one_of, around) as running,
    ):
        sink.take()
        around.prepare(running)
        prefix = bulkhead.next_prefix()
        with Load(running.api_port, prefix, seconds=seconds, rate=rate, connections=8) as load:
            started = time.monotonic()
            load.start()
            with around.beset(running):
                events = load.finish().events
        ages: Counter[int] = Counter()
        seen: Counter[str] = Counter()
        last_at = started

        def have_all() -> bool:
            nonlocal last_at
            for name, received in sink.take().items():
                if name in NINE:
                    seen[name] += received.events
                    ages.update(received.ages)
                    last_at = max(last_at, received.last_at)
            return all(seen[name] >= events for name in NINE)

        wait_until(have_all, PATIENCE_S, f"{events} events of each of the nine have arrived")
        queue = running.queue_of(BAD)
        exits = sum(w["restarts"] for p in running.admin("/status")["pools"] for w in p["workers"])
        blame = queue["blame"]
        story = (
            f"{BAD}: {queue['state']}, {blame['worker_deaths']} deaths, {blame['trips']} trips,"
            f" {blame['quarantined']} quarantined; {exits} restarts"
        )
        return Run(
            rate=sum(seen.values()) / (last_at - started),
            p99_ms=percentile_ms(ages, 0.99),
            worst_ms=max(ages) * STEP_MS,
            late=sum(n for age, n in ages.items() if age * STEP_MS > LATE_MS) / ages.total(),
            story=story,
        )
