"""Soak: all habits of the torture list at once, beside connections that behave, at a high rate.

Owns the samples and what has to stay flat: what the healthy ones get, and the
supervisor's memory and descriptors. The books have to balance at the end, and nothing of the
service may be left. `blast` has the destinations and the sink.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from scripts.benchmarks import blast, bulkhead
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.latency_sink import LatencySink
from scripts.benchmarks.load import Load
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.torture.rows import ROWS

#: What may be lost or gained between the second and the last quarter of the soak.
GOAL_THROUGHPUT = 0.9
GOAL_MEMORY = 1.1
GOAL_DESCRIPTORS = 20
SAMPLES = 40
#: Of what as many connections carry that behave: what the bad ones use up is in it, too.
SHARE_OF_CAPACITY = 0.5
#: Longest wait for processes to be gone, in seconds.
GONE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Sample:
    """One look: what the healthy ones got since the last one, and what the supervisor holds."""

    rate: float
    rss_bytes: int
    descriptors: int


def run(*, minutes: float) -> tuple[Sequence[Figure], bool]:
    """The figures, and whether everything stayed flat and in balance."""
    habits: dict[str, str | None] = dict.fromkeys(blast.NINE)
    habits |= {f"bad-{row.name}": row.habit for row in ROWS}
    pool = {"batch_timeout": "2s"}
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(LatencySink())
        rate = blast.capacity_of(sink, len(habits)) * SHARE_OF_CAPACITY
        service = stack.enter_context(blast.service(sink, pool, habits, blast.ONE_OF))
        seconds = minutes * 60
        prefix = bulkhead.next_prefix()
        with Load(service.api_port, prefix, seconds=seconds, rate=rate, connections=8) as load:
            load.start()
            samples = [_sample(service, sink, seconds / SAMPLES) for _ in range(SAMPLES)]
            events = load.finish().events
        tripped = sum(queue["blame"]["trips"] for queue in service.admin("/status")["queues"])
        children = psutil.Process(service.pid).children(recursive=True)
        books = service.books()
        outcomes = sum(count for name, count in books.items() if name != "accepted")
        service.stop()
        audit = service.command("audit", "--config", str(service.config_path))
        left = _left(children)
        service.start()  # whoever gave it to us stops it
    early, late = samples[SAMPLES // 4 : SAMPLES // 2], samples[-SAMPLES // 4 :]
    unbalanced = abs(books["accepted"] - outcomes) + (audit.returncode != 0)
    figures = [
        Figure(
            "events accepted", events, "", None, True, 0.0,
            f"{rate:,.0f} events/s offered, {tripped} trips",
        ),
        _flat("healthy throughput", [s.rate for s in samples], GOAL_THROUGHPUT, True),
        _flat("supervisor memory", [s.rss_bytes for s in samples], GOAL_MEMORY, False),
        Figure(
            "descriptors more",
            statistics.median(s.descriptors for s in late)
            - statistics.median(s.descriptors for s in early),
            "",
            GOAL_DESCRIPTORS,
            False,
            0.0,
        ),
        Figure("books off by", unbalanced, "", 0, False, 0.0, str(books)),
        Figure("processes left behind", left, "", 0, False, 0.0),
    ]  # fmt: skip
    is_sound = all(
        f.goal is None or (f.value >= f.goal if f.is_more_better else f.value <= f.goal)
        for f in figures
    )
    return figures, is_sound


def _sample(service: RunningService, sink: LatencySink, seconds: float) -> Sample:
    sink.take()
    started = time.monotonic()
    time.sleep(seconds)
    got = sum(r.events for name, r in sink.take().items() if name in blast.NINE)
    process = psutil.Process(service.pid)
    return Sample(got / (time.monotonic() - started), process.memory_info().rss, process.num_fds())


def _flat(name: str, samples: Sequence[float], goal: float, is_more_better: bool) -> Figure:
    quarter = SAMPLES // 4
    quarters = [
        statistics.median(samples[first : first + quarter]) for first in range(0, SAMPLES, quarter)
    ]
    detail = ", ".join(f"{median:,.4g}" for median in quarters) + " in the four quarters"
    return Figure(name, quarters[-1] / quarters[1], "x", goal, is_more_better, 0.0, detail)


def _left(children: Sequence[psutil.Process]) -> int:
    """How many of the service's processes are alive though it has ended."""

    def alive() -> int:
        return sum(child.is_running() for child in children)

    try:
        wait_until(lambda: not alive(), GONE_TIMEOUT_S, "the service's processes are gone")
    except TimeoutError:
        return alive()  # that is the figure
    return 0
