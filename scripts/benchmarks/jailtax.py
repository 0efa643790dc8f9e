"""Row `jailtax`: what the jail costs an event, on the path of `deliver`.

Owns the row's sides and goals. The same service delivers the same single-event webhooks on both,
once with all layers and the egress broker, once with workers that have no jail and sockets of
their own (`unjailed.py`). A third service, with the jail again, tells how much two equal ones
differ: where a process has its memory alone makes a percent. All of them live at once and take
turns, and are started afresh several times.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scripts.benchmarks import bulkhead, deliver
from scripts.benchmarks.bulkhead import Run
from scripts.benchmarks.comparison import Figure, difference
from tests.harness.service import RunningService, pinned
from tests.harness.sink import SinkProcess

#: No event may cost more than two percent above what it costs without.
GOAL_RATE, GOAL_CPU = 0.98, 1.02
#: Layers that this machine must have, or there is nothing to measure.
NEEDED = ("landlock", "seccomp", "egress")
UNJAILED = "scripts.benchmarks.unjailed"


@dataclass
class Side:
    """One service after another, and all that was measured of them."""

    module: str
    runs: list[Run] = field(default_factory=list)

    def check(self, service: RunningService) -> None:
        """Raise RuntimeError where it is not jailed, or not unjailed, as it should be."""
        layers = service.admin("/status")["sandbox"]
        is_unjailed = self.module == UNJAILED
        wrong = {
            layer: state
            for layer, state in layers.items()
            if (is_unjailed or layer in NEEDED) and state != ("left out" if is_unjailed else "on")
        }
        if wrong:
            raise RuntimeError(f"{self.module}: not as it should be: {wrong}")


def run(*, events: int, starts: int, rounds: int) -> Sequence[Figure]:
    """`events` events a run, a run of each side a round, `rounds` rounds after each start."""
    cores = sorted(os.sched_getaffinity(0))
    sender, receiver = frozenset(cores[:1]), frozenset(cores[-1:])
    with pinned(receiver):
        sink = SinkProcess(light=True)
    jailed, _, unjailed = sides = [Side("supervisor"), Side("supervisor"), Side(UNJAILED)]
    with sink:
        for _ in range(starts):
            with contextlib.ExitStack() as stack:
                services = [
                    stack.enter_context(
                        bulkhead.running(deliver.sections(sink.url), sender, side.module)
                    )
                    for side in sides
                ]
                for side, service in zip(sides, services, strict=True):
                    side.check(service)
                    bulkhead.run_backlog(service, events)  # warms connections and caches
                for turn in range(rounds):
                    # Each is the first as often as the others: what one does may slow the next.
                    for place in range(len(sides)):
                        index = (turn + place) % len(sides)
                        sides[index].runs.append(bulkhead.run_backlog(services[index], events))
    return [
        *_compared("requests", "requests/s", GOAL_RATE, True, lambda run: run.rate, *sides),
        *_compared("CPU, all", "µs/request", GOAL_CPU, False, _all_cpu_us, *sides),
        *_one("CPU, supervisor", lambda run: run.cpu_us_per_event, jailed, unjailed),
        *_one("CPU, worker", lambda run: run.worker_cpu_us_per_event, jailed, unjailed),
    ]


def _all_cpu_us(run: Run) -> float:
    return run.cpu_us_per_event + run.worker_cpu_us_per_event


def _compared(
    name: str,
    unit: str,
    goal: float,
    is_more_better: bool,
    of: Callable[[Run], float],
    jailed: Side,
    again: Side,
    unjailed: Side,
) -> list[Figure]:
    """Both sides and their ratio; its noise is how far the two jailed ones are apart."""
    noise = difference(_ratio(jailed, again, of), 1.0)
    return [
        *_one(name, of, jailed, unjailed, unit, is_more_better=is_more_better),
        Figure(
            f"{name}, ratio",
            # Two services with the jail, so twice the evidence for that side.
            statistics.median([_ratio(jailed, unjailed, of), _ratio(again, unjailed, of)]),
            "x",
            goal,
            is_more_better,
            noise,
            f"{len(jailed.runs)} rounds of three",
        ),
    ]


def _one(
    name: str,
    of: Callable[[Run], float],
    jailed: Side,
    unjailed: Side,
    unit: str = "µs/request",
    *,
    is_more_better: bool = False,
) -> list[Figure]:
    return [
        Figure.median(f"{name}, {how}", list(map(of, side.runs)), unit, None, is_more_better, 0.0)
        for how, side in (("jail", jailed), ("none", unjailed))
    ]


def _ratio(one: Side, other: Side, of: Callable[[Run], float]) -> float:
    """Median of one over the other, round by round, so that drift of the machine cancels out."""
    return statistics.median(of(a) / of(b) for a, b in zip(one.runs, other.runs, strict=True))
