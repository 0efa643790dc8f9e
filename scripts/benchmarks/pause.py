"""Row `pause`: the longest stop of a worker while a snapshot of its large heap is taken.

Owns the row's goal. The worker itself looks at the clock every half millisecond
under traffic; the same is asked of it for no snapshot at all, and for dumps in
the process itself: guppy's heap, and a walk as dumpers on top of `gc` do it.
"""

from __future__ import annotations

import http.client
import itertools
import re
import statistics
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

import psutil

from scripts.benchmarks import bulkhead
from scripts.benchmarks.comparison import Figure
from scripts.benchmarks.load import Load
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

GOAL_MS = 15.0
#: Dictionaries that make a heap of 250 MB.
OBJECTS = 700_000
#: Events a second beside the snapshot.
TRAFFIC = 500
#: Seconds that a dump in the process may take.
DUMP_S = 300.0

_numbers = itertools.count()


def run(*, rounds: int, objects: int = OBJECTS) -> Sequence[Figure]:
    """Each way `rounds` times; dumps in the process twice."""
    sections = bulkhead.plugin_sections(
        "bench-heavy",
        settings={"objects": objects},
        pool={
            "workers": 1,
            "spares": 0,
            "memory_limit": "2GiB",
            "batch_timeout": "10m",
            "block_timeout": "10m",
        },
    )
    with bulkhead.running(sections) as service:
        _send(service, "Ask")  # fills the heap
        worker = psutil.Process(service.worker_pids()[0])
        heap_mb = worker.memory_info().rss / 1e6
        with Load(
            service.api_port, bulkhead.next_prefix(), seconds=600, connections=1, rate=TRAFFIC
        ) as load:
            load.start()
            quiet = [_stop_ms(service, lambda: None) for _ in range(rounds)]
            forked = [_stop_ms(service, lambda: _snapshot(service)) for _ in range(rounds)]
        guppy = [_stop_ms(service, lambda: _send(service, "Guppy")) for _ in range(2)]
        by_gc = [_stop_ms(service, lambda: _send(service, "Gc")) for _ in range(2)]
    detail = f"worst of {rounds}; median {statistics.median(forked):.1f} ms; RSS {heap_mb:.0f} MB"
    return [
        Figure("snapshot by fork", max(forked), "ms", GOAL_MS, False, 0.0, detail),
        Figure("no snapshot", max(quiet), "ms", None, False, 0.0, f"worst of {rounds}"),
        Figure("guppy in the process", min(guppy), "ms", None, False, 0.0, "better of 2"),
        Figure("gc in the process", min(by_gc), "ms", None, False, 0.0, "better of 2"),
    ]


def _stop_ms(service: RunningService, do: Callable[[], None]) -> float:
    """The longest stop while something is done."""
    _send(service, "Ask")
    told = len(_stops(service))
    do()
    _send(service, "Ask")
    wait_until(lambda: len(_stops(service)) > told, 30, "the worker tells its longest stop")
    return _stops(service)[-1] * 1000


def _stops(service: RunningService) -> list[float]:
    text = service.log_path.read_text(errors="replace")
    return [float(found) for found in re.findall(r"longest stop ([0-9.]+)", text)]


def _send(service: RunningService, event: str) -> None:
    """Send one event, and wait for its delivery."""
    message_id = f"pause{next(_numbers)}"
    post(service.url, [track(message_id, event)])

    def is_delivered() -> bool:
        found = service.admin(f"/events/{message_id}")
        return bool(found["deliveries"][0]["outcome"] == "delivered")

    wait_until(is_delivered, DUMP_S, f"{event} is delivered")


def _snapshot(service: RunningService) -> None:
    url = f"http://127.0.0.1:{service.admin_port}/debug/workers/default-1/heap"

    def is_had() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=DUMP_S) as answer:
                while answer.read(1 << 20):
                    pass
        except urllib.error.HTTPError as error:
            if error.code != http.client.CONFLICT:
                raise RuntimeError(error.read().decode()) from error
            return False  # the service takes one by itself
        return True

    wait_until(is_had, DUMP_S, "a snapshot is taken")
