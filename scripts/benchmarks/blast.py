"""Row `blast`: what one misbehaving connection of ten costs the other nine.

Owns the row's service and its goals. Every event goes to all ten connections, which share
workers and deliver to one local sink; the load is 30 % of what ten that behave
were just seen to carry. In the one run the first of them has a habit of the
torture list, in the other it has none. Ages are taken at the sink, from receipt to arrival.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import click

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Beside, Figure, beside
from scripts.benchmarks.latency_sink import STEP_MS, LatencySink, percentile_ms
from scripts.benchmarks.load import Load
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.torture.rows import PLUGINS as HABITS
from tests.torture.rows import ROWS, Row

GOAL_THROUGHPUT = 0.98
GOAL_P99 = 1.25
CONNECTIONS = 10
SHARE_OF_CAPACITY = 0.3
#: An event that is older when it arrives has waited for the bad one; in milliseconds.
LATE_MS = 100
#: Longest wait until the nine have everything, in seconds.
PATIENCE_S = 60.0
#: The connection that may misbehave, and how often it does so: one event of so many.
BAD, ONE_OF = "c0", 100
NINE = tuple(f"c{number}" for number in range(1, CONNECTIONS))
#: Beside the rows of the list: the same habit at every event.
EVERY = Row("exits", exits="crash")


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
    return [*(row.name for row in ROWS), "at-every-event"]


def run(*, rows: Sequence[str], seconds: float, pairs: int) -> Sequence[Figure]:
    """Each run lasts `seconds`; `rows` are names, none for all.

    Rows whose pool has the same limits are compared with the same runs of ten that behave.
    """
    groups: dict[str, list[str]] = {}
    for name in rows or names():
        groups.setdefault(str(_row(name)[0].pool), []).append(name)
    runs = pairs * sum(len(group) + 2 for group in groups.values())
    with (
        LatencySink() as sink,
        click.progressbar(length=runs, label="runs", file=sys.stderr) as bar,
    ):
        capacity = capacity_of(sink)
        rate = capacity * SHARE_OF_CAPACITY
        figures = [Figure("offered load", rate, "events/s", None, True, 0.0)]
        for group in groups.values():
            pool = _row(group[0])[0].pool
            measure = partial(_measure, sink, pool, rate, seconds)
            many = {name: partial(measure, _row(name)[0].habit, _row(name)[1]) for name in group}
            good = partial(measure, None, ONE_OF)
            for name, found in beside(many, good, pairs, lambda: bar.update(1)).items():
                figures += _figures(name, found)
    return figures


def _row(name: str) -> tuple[Row, int]:
    if name == "at-every-event":
        return EVERY, 1
    (row,) = [row for row in ROWS if row.name == name]
    return row, ONE_OF


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
            lambda run: run.p99_ms,
            GOAL_P99,
            f"{bad.p99_ms:.0f} ms beside {good.p99_ms:.0f} ms in the last round, the oldest"
            f" {bad.worst_ms} beside {good.worst_ms}; {bad.late:.2%} above {LATE_MS} ms",
        ),
    ]


@contextlib.contextmanager
def service(
    sink: LatencySink,
    pool: Mapping[str, object],
    habits: Mapping[str, str | None],
    one_of: int,
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
    with bulkhead.running(sections) as running:
        yield running


def capacity_of(sink: LatencySink, connections: int = CONNECTIONS) -> float:
    """Events/s that so many connections that behave carry, each event as often."""
    names = [f"c{number}" for number in range(connections)]
    with service(sink, {}, dict.fromkeys(names), ONE_OF) as running:
        bulkhead.run_load(running, seconds=1.0, fan_out=connections)
        return bulkhead.run_load(running, seconds=3.0, fan_out=connections).rate


def _measure(
    sink: LatencySink,
    pool: Mapping[str, object],
    rate: float,
    seconds: float,
    habit: str | None,
    one_of: int,
) -> Run:
    with service(sink, pool, {BAD: habit, **dict.fromkeys(NINE)}, one_of) as running:
        sink.take()
        prefix = bulkhead.next_prefix()
        with Load(running.api_port, prefix, seconds=seconds, rate=rate, connections=8) as load:
            started = time.monotonic()
            events = load.start().finish().events
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
