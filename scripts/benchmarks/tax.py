"""Row `tax`: what supervision costs a pool, against the same class in plain processes.

Owns the row's two sides and its goal. The backlog is on disk before the clock
starts, so that intake costs nothing; supervisor and workers share all cores,
as the plain processes do.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure, Pairs, interleave
from scripts.benchmarks.load import BATCH_EVENTS

GOAL_RATIO = 0.9
#: Destination CPU an event, in microseconds; the goal is for the one in the middle.
COSTS_US = (50, 200, 1000)
GOAL_COST_US = 200


def run(*, seconds: float, pairs: int, workers: int) -> Sequence[Figure]:
    """Each run takes about `seconds` at best; there are `workers` processes on each side."""
    figures: list[Figure] = []
    for cost_us in COSTS_US:
        result = _compare(cost_us, seconds=seconds, pairs=pairs, workers=workers)
        goal = GOAL_RATIO if cost_us == GOAL_COST_US else None
        figures += [
            Figure.median(f"pool, {cost_us} µs", result.a, "events/s", None, True, result.noise),
            Figure.median(f"plain, {cost_us} µs", result.b, "events/s", None, True, 0.0),
            Figure(f"ratio, {cost_us} µs", result.ratio, "x", goal, True, result.noise),
        ]
    return figures


def _compare(cost_us: int, *, seconds: float, pairs: int, workers: int) -> Pairs:
    events = int(seconds * workers * 1e6 / cost_us) // BATCH_EVENTS * BATCH_EVENTS
    sections = bulkhead.plugin_sections(
        "bench-burn", settings={"cpu_us": float(cost_us)}, pool={"workers": workers}
    )
    with bulkhead.running(sections) as service:
        bulkhead.run_backlog(service, BATCH_EVENTS * workers * 4)  # warms what is lazy
        return interleave(
            lambda: bulkhead.run_backlog(service, events).rate,
            lambda: _plain(workers, cost_us, seconds),
            pairs,
        )


def _plain(workers: int, cost_us: int, seconds: float) -> float:
    """Events a second of `workers` plain processes together."""
    command = [sys.executable, "-m", "scripts.benchmarks.plain_worker", str(cost_us), str(seconds)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it has imported everything
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(float(process.communicate()[0]) for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
