"""Row `memory`: what one more idle worker takes for itself.

Owns the counting: private pages (USS), as the kernel books them, of workers
that are ready and have not had a batch. What they share with the zygote and
with each other is there anyway.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import psutil

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure, difference
from tests.harness.waiting import wait_until

GOAL_MB = 12.0
#: A built-in destination that speaks HTTP, and so has what most of them have.
DESTINATION: dict[str, object] = {
    "destination": "webhooks",
    "source": "test",
    "settings": {"url": "http://127.0.0.1:9/"},
}


def run(*, workers: int) -> Sequence[Figure]:
    """`workers` idle workers of a pool that runs webhooks."""
    sections: dict[str, dict[str, object]] = {
        "pools.default": {"destinations": ["*"], "workers": workers, "spares": 1},
        "connections.hook": DESTINATION,
    }
    with bulkhead.running(sections) as service:
        wait_until(lambda: len(service.worker_pids()) == workers, 60, "all workers serve")
        private = [_mb(psutil.Process(pid).memory_full_info().uss) for pid in service.worker_pids()]
        zygote = psutil.Process(service.admin("/status")["zygote"]["pid"])
        shared = _mb(zygote.memory_info().rss)
    noise = difference(statistics.median(private[::2]), statistics.median(private[1::2]))
    return [
        Figure.median("one more idle worker", private, "MB", GOAL_MB, False, noise),
        Figure("the zygote, once", shared, "MB", None, False, 0.0, "what workers share with it"),
    ]


def _mb(size_bytes: int) -> float:
    return size_bytes / 1e6
