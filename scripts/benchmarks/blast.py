"""Row `blast`: what one misbehaving connection of ten costs the other nine.

Owns the row's service and its goals. Every event goes to all ten connections, which share
workers and deliver to one local sink; the load is 30 % of what ten that behave
were just seen to carry. In the one run the first of them has a habit of the
torture list, in the other it has none. Ages are taken at the sink, from receipt to arrival.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure, difference
from scripts.benchmarks.latency_sink import LatencySink, percentile_ms
from scripts.benchmarks.load import Load
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.torture.rows import PLUGINS as HABITS
from tests.torture.rows import ROWS, Row

GOAL_THROUGHPUT = 0.98
GOAL_P99 = 1.25
CONNECTIONS = 10
SHARE_OF_CAPACITY = 0.3
#: Longest wait until the nine have everything, in seconds.
PATIENCE_S = 60.0
#: The connection that may misbehave, and how often it does so: one event of so many.
BAD, ONE_OF = "c0", 100
NINE = tuple(f"c{number}" for number in range(1, CONNECTIONS))
#: Beside the rows of the list: the same habit at every event.
EVERY = Row("exits", exits="crash")


@dataclass(frozen=True)
class Run:
    """What the nine got in one run: events a second, and their ages."""

    rate: float
    p99_ms: float
    story: str


def names() -> list[str]:
    """What `--rows` may name."""
    return [*(row.name for row in ROWS), "at-every-event"]


def run(*, rows: Sequence[str], seconds: float, pairs: int) -> Sequence[Figure]:
    """Each run lasts `seconds`; `rows` are names, none for all."""
    with LatencySink() as sink:
        capacity = capacity_of(sink)
        figures = [_figure("offered load", [capacity * SHARE_OF_CAPACITY], "events/s")]
        for name in rows or names():
            row, one_of = _row(name)
            figures += _compare(name, row, one_of, sink, capacity, seconds, pairs)
    return figures


def _row(name: str) -> tuple[Row, int]:
    if name == "at-every-event":
        return EVERY, 1
    (row,) = [row for row in ROWS if row.name == name]
    return row, ONE_OF


def _compare(
    name: str,
    row: Row,
    one_of: int,
    sink: LatencySink,
    capacity: float,
    seconds: float,
    pairs: int,
) -> list[Figure]:
    rate = capacity * SHARE_OF_CAPACITY
    bad: list[Run] = []
    good: list[Run] = []
    for _ in range(pairs):
        bad.append(_measure(sink, row.pool, row.habit, one_of, rate, seconds))
        good.append(_measure(sink, row.pool, None, one_of, rate, seconds))
    same = [_measure(sink, row.pool, None, one_of, rate, seconds) for _ in range(2)]
    story = bad[-1].story
    return [
        _ratio(
            f"{name}: throughput",
            [a.rate / b.rate for a, b in zip(bad, good, strict=True)],
            GOAL_THROUGHPUT,
            True,
            difference(same[0].rate, same[1].rate),
            story,
        ),
        _ratio(
            f"{name}: p99",
            [a.p99_ms / b.p99_ms for a, b in zip(bad, good, strict=True)],
            GOAL_P99,
            False,
            difference(same[0].p99_ms, same[1].p99_ms),
            f"{bad[-1].p99_ms:.0f} ms beside {good[-1].p99_ms:.0f} ms in the last pair",
        ),
    ]


def _ratio(
    name: str, ratios: list[float], goal: float, is_more_better: bool, noise: float, detail: str
) -> Figure:
    middle = sorted(ratios)[len(ratios) // 2]
    return Figure(name, middle, "x", goal, is_more_better, noise, detail)


def _figure(name: str, values: list[float], unit: str) -> Figure:
    return Figure(name, values[0], unit, None, True, 0.0)


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


def capacity_of(sink: LatencySink) -> float:
    """Events/s that ten connections that behave carry, each event ten times."""
    with service(sink, {}, dict.fromkeys((BAD, *NINE)), ONE_OF) as running:
        bulkhead.run_load(running, seconds=1.0, fan_out=CONNECTIONS)
        return bulkhead.run_load(running, seconds=3.0, fan_out=CONNECTIONS).rate


def _measure(
    sink: LatencySink,
    pool: Mapping[str, object],
    habit: str | None,
    one_of: int,
    rate: float,
    seconds: float,
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
        return Run(sum(seen.values()) / (last_at - started), percentile_ms(ages, 0.99), story)
