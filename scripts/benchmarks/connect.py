"""Row `connect`: what the broker costs a worker's HTTP, beside aiohttp with sockets of its own.

Owns the row's sides and goals. Both ends of the broker run as they do in the service, the
supervisor's in a process of its own on the same core as the client; the sink has another core.
New connections and kept-alive ones are figures of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from scripts.benchmarks.comparison import Figure, interleave
from tests.harness.service import pinned
from tests.harness.sink import SinkProcess

#: Requests at once, and the goals: as many kept-alive requests as without a broker (less the
#: noise of two equal runs), and new connections at no more than a third above.
CONCURRENCY = 16
GOAL_KEPT = 0.98
GOAL_NEW = 0.75


def run(*, requests: int, pairs: int) -> Sequence[Figure]:
    """Each run sends so many requests, and a fourth of them where each has a new connection."""
    cores = sorted(os.sched_getaffinity(0))
    sender, receiver = frozenset(cores[:1]), frozenset(cores[-1:])
    with pinned(receiver):
        sink = SinkProcess(light=True)
    figures: list[Figure] = []
    with sink:

        def side(how: str, keep: str, count: int) -> Callable[[], float]:
            return lambda: _client(sink.url, how, keep, count, sender)

        for name, keep, count, goal in (
            ("kept alive", "kept", requests, GOAL_KEPT),
            ("new", "new", requests // 4, GOAL_NEW),
        ):
            pair = interleave(side("broker", keep, count), side("plain", keep, count), pairs)
            noise = pair.noise
            figures += [
                Figure.median(f"{name}, broker", pair.a, "requests/s", None, True, noise),
                Figure.median(f"{name}, plain aiohttp", pair.b, "requests/s", None, True, 0.0),
                Figure(f"{name}, ratio", pair.ratio, "x", goal, True, noise),
            ]
    return figures


def _client(url: str, how: str, keep: str, count: int, cores: frozenset[int]) -> float:
    command = [sys.executable, "-m", "scripts.benchmarks.connect_client"]
    command += [url, how, keep, str(count), str(CONCURRENCY)]
    with pinned(cores):
        client = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(client.stdout)
