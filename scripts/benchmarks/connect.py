"""Row `connect`: what the broker costs a worker's HTTP, beside aiohttp with sockets of its own.

Owns the row's figures and goals. Both ends of the broker run as they do in the service, the
supervisor's in a process of its own on the same core as the client; the sink has another core.
New connections and kept-alive ones are figures of their own, and so are requests/s (many at
once), the CPU that one takes, and how long one takes (one at a time).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from scripts.benchmarks.comparison import Figure, difference, percentile
from scripts.benchmarks.connect_client import Round, Turn
from tests.harness.service import pinned
from tests.harness.sink import SinkProcess

#: Goals for requests/s, CPU and the median time of a request, beside plain aiohttp: kept-alive
#: the same, less two percent; on a new connection within 20 %, whatever CPU a second process takes.
GOALS: dict[str, tuple[float, float | None, float]] = {
    "kept": (0.98, 1.02, 1.02),
    "new": (1 / 1.2, None, 1.2),
}
NAMES = {"kept": "kept alive", "new": "new"}


def run(*, starts: int, rounds: int) -> Sequence[Figure]:
    """So many clients, one after another, each with so many rounds, for each of both cases."""
    cores = sorted(os.sched_getaffinity(0))
    sender, receiver = frozenset(cores[:1]), frozenset(cores[-1:])
    with pinned(receiver):
        sink = SinkProcess(light=True)
    turns: dict[str, list[Round]] = {keep: [] for keep in GOALS}
    with sink:
        for _ in range(starts):
            for keep, found in turns.items():
                found += _client(sink.url, keep, rounds, sender)
    return [figure for keep, found in turns.items() for figure in _figures(keep, found)]


def _figures(keep: str, rounds: Sequence[Round]) -> list[Figure]:
    goal_rate, goal_cpu, goal_time = GOALS[keep]
    name = NAMES[keep]
    figures: list[Figure] = []
    for what, unit, goal, is_more_better, of in (
        ("requests", "requests/s", goal_rate, True, _rate),
        ("CPU", "µs/request", goal_cpu, False, _cpu_us),
        ("time, median", "µs/request", goal_time, False, _median_us),
    ):
        broker, plain = ([of(turn) for turn in each] for each in zip(*rounds, strict=True))
        figures += [
            Figure.median(f"{name}: {what}, {how}", values, unit, None, is_more_better, 0.0)
            for how, values in (("broker", broker), ("plain aiohttp", plain))
        ]
        figures.append(_ratio(f"{name}: {what}, ratio", broker, plain, goal, is_more_better))
    figures.append(
        Figure.median(
            f"{name}: CPU of the supervisor",
            [one.broker.supervisor_cpu_us for one in rounds],
            "µs/request",
            None,
            False,
            0.0,
        )
    )
    for how, each in zip(Round._fields, zip(*rounds, strict=True), strict=True):
        times = [time for turn in each for time in turn.times_us]
        p99 = percentile(times, 0.99)
        detail = f"of {len(times)} requests"
        figures.append(
            Figure(f"{name}: time, p99, {how}", p99, "µs/request", None, False, 0.0, detail)
        )
    return figures


def _ratio(
    name: str, a: Sequence[float], b: Sequence[float], goal: float | None, is_more_better: bool
) -> Figure:
    """The A/A pair of many short rounds: their even and their odd half."""
    ratios = [one / other for one, other in zip(a, b, strict=True)]
    noise = difference(statistics.median(ratios[::2]), statistics.median(ratios[1::2]))
    detail = f"{len(ratios)} rounds"
    return Figure(name, statistics.median(ratios), "x", goal, is_more_better, noise, detail)


def _rate(turn: Turn) -> float:
    return turn.rate


def _cpu_us(turn: Turn) -> float:
    return turn.cpu_us + turn.supervisor_cpu_us


def _median_us(turn: Turn) -> float:
    return statistics.median(turn.times_us)


def _client(url: str, keep: str, rounds: int, cores: frozenset[int]) -> list[Round]:
    command = [sys.executable, "-m", "scripts.benchmarks.connect_client", url, keep, str(rounds)]
    with pinned(cores):
        client = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(client.stdout, type=list[Round])
