"""Row `deliver`: single-event webhooks against a bare aiohttp client on the same core.

Owns the row's two sides and its goal. Everything that sends (supervisor,
zygote, worker; or the bare client) shares one core, the sink has another, and
the backlog is on disk before the clock starts, so that intake costs nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure, interleave
from tests.harness.service import pinned
from tests.harness.sink import SinkProcess

GOAL_RATIO = 0.8
#: Batches in flight on our side, and requests on both: a batch of webhooks has 16 of them. aiohttp
#: is slower the more there are (half as quick at 128 as at 16), so they have to be as many.
BATCHES = 2
CONCURRENCY = BATCHES * 16


def run(*, events: int, pairs: int) -> Sequence[Figure]:
    """Each run delivers `events` single events."""
    cores = sorted(os.sched_getaffinity(0))
    sender, receiver = frozenset(cores[:1]), frozenset(cores[-1:])
    with pinned(receiver):
        sink = SinkProcess(light=True)
    with sink, bulkhead.running(sections(sink.url), sender) as service:
        bulkhead.run_backlog(service, events // 4)  # warms connections and caches
        runs: list[bulkhead.Run] = []

        def ours() -> float:
            runs.append(bulkhead.run_backlog(service, events))
            return runs[-1].rate

        result = interleave(ours, lambda: _bare(sink.url, events, sender), pairs)
    costs = [run.cpu_us_per_event for run in runs]
    worker_costs = [run.worker_cpu_us_per_event for run in runs]
    return [
        Figure.median("webhooks", result.a, "requests/s", None, True, result.noise),
        Figure.median("bare aiohttp", result.b, "requests/s", None, True, 0.0),
        Figure("ratio", result.ratio, "x", GOAL_RATIO, True, result.noise),
        Figure.median("supervisor CPU", costs, "µs/event", None, False, 0.0),
        Figure.median("worker CPU", worker_costs, "µs/event", None, False, 0.0),
    ]


def sections(url: str) -> dict[str, dict[str, object]]:
    """Config sections of a service whose only connection delivers to the webhook at `url`."""
    return {
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "allow": [url.removeprefix("http://").rstrip("/")],
        },
        f"connections.{bulkhead.CONNECTION}": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": url},
            "max_concurrency": BATCHES,
        },
    }


def _bare(url: str, events: int, cores: frozenset[int]) -> float:
    command = [sys.executable, "-m", "scripts.benchmarks.bare_client"]
    command += [url, str(events), str(CONCURRENCY)]
    with pinned(cores):
        client = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
        )
    return float(client.stdout)
