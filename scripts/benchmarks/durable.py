"""Row `durable`: HTTP to disk to worker to acknowledgement, with a destination that only counts.

Owns the row's two sides and its goals. The Celery side gets its events from
this process and not over HTTP, which is in its favour. It runs twice: on Redis
as Debian configures it, which loses what was queued in the last minutes when
the machine dies, and on Redis that syncs each command as Bulkhead does.
"""

from __future__ import annotations

from collections.abc import Sequence

from scripts.benchmarks import bulkhead, celery_peer
from scripts.benchmarks.comparison import Figure, Pairs, difference, interleave
from scripts.benchmarks.load import BATCH_EVENTS, event_parts, numbered
from tests.harness.service import RunningService

GOAL_RATE = 60_000.0
GOAL_CPU_US = 15.0
GOAL_RATIO = 6.0


def run(*, seconds: float, pairs: int, workers: int) -> Sequence[Figure]:
    """Each run sends for `seconds`; the service and Celery have `workers` workers each."""
    sections = bulkhead.plugin_sections("bench-count", pool={"workers": workers})
    figures: list[Figure] = []
    for is_synced in (False, True):
        name = "Celery, Redis that syncs" if is_synced else "Celery, Debian's Redis"
        with (
            bulkhead.running(sections) as service,
            celery_peer.running(workers, is_synced=is_synced) as celery,
        ):
            runs, result = _compare(service, celery, seconds, pairs)
        if not is_synced:
            rates = [run.rate for run in runs]
            costs = [run.cpu_us_per_event for run in runs]
            cost_noise = difference(*costs[-2:])
            figures += [
                Figure.median("end to end", rates, "events/s", GOAL_RATE, True, result.noise),
                Figure.median("supervisor CPU", costs, "µs/event", GOAL_CPU_US, False, cost_noise),
            ]
        figures += [
            Figure.median(name, result.b, "events/s", None, True, 0.0),
            Figure(f"ratio to {name}", result.ratio, "x", GOAL_RATIO, True, result.noise),
        ]
    return figures


def _compare(
    service: RunningService, celery: celery_peer.CeleryPeer, seconds: float, pairs: int
) -> tuple[list[bulkhead.Run], Pairs]:
    parts = event_parts("celery")
    events = [numbered(parts, number).decode() for number in range(BATCH_EVENTS)]
    # These warm caches and journals, and tell how many lists fill a run.
    bulkhead.run_load(service, seconds=1.0)
    lists = max(20, int(celery.rate(events, 50) * seconds / BATCH_EVENTS))
    runs: list[bulkhead.Run] = []

    def ours() -> float:
        runs.append(bulkhead.run_load(service, seconds=seconds))
        return runs[-1].rate

    return runs, interleave(ours, lambda: celery.rate(events, lists), pairs)
