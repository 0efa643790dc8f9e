"""Row `recover`: from SIGKILL of a worker to the first batch of its slot's replacement.

Owns the killing, the goals and the load: each side runs at 30 % of what it
was just seen to carry. Sides take turns in blocks of kills, since all of them
at once would be no load of 30 %.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmarks import bulkhead, celery_peer, stamps
from scripts.benchmarks.comparison import Figure, difference, percentile
from scripts.benchmarks.load import BATCH_EVENTS, Load, event_parts, numbered
from scripts.benchmarks.pool_peers import Futures, Pebble, PoolPeer
from tests.harness.service import RunningService, writable
from tests.harness.waiting import wait_until

GOAL_MEDIAN_MS = 5.0
GOAL_P99_MS = 20.0
WORKERS = 2
SHARE_OF_CAPACITY = 0.3
KILLS_A_BLOCK = 10
#: Events of a batch, and of a request of the load: the next one is never long in coming, and what
#: is measured is the recovery. With requests of 100 there is nothing to start for most of the time.
BATCH = 10
#: Longest wait for a replacement's first batch, in seconds. A peer that takes longer is booked
#: with this time, and its figures say how often that was.
RECOVERY_TIMEOUT_S = 5.0
#: A list count that shows a peer's capacity within about a second.
CAPACITY_LISTS = 300


@dataclass
class Side:
    """One contender; `under_load` keeps it at its share of capacity while it lasts."""

    name: str
    stamps: Path
    worker_pids: Callable[[], list[int]]
    under_load: Callable[[], contextlib.AbstractContextManager[None]]
    rebuild: Callable[[], None] | None = None
    """What an application does when the peer does not recover; None where nothing helps."""
    recoveries_ms: list[float] = field(default_factory=list)
    unrecovered: int = 0

    def kill_some(self, kills: int) -> None:
        """Kill `kills` workers one after another, and note how long each recovery took."""
        with self.under_load():
            for _ in range(kills):
                wait_until(self._is_whole, RECOVERY_TIMEOUT_S, f"{self.name} has all workers")
                # Not in step with whatever happens at regular intervals over there.
                time.sleep(random.uniform(0.02, 0.1))
                try:
                    self.recoveries_ms.append(self._kill_one())
                except TimeoutError:
                    if self.rebuild is None:
                        raise
                    self.recoveries_ms.append(RECOVERY_TIMEOUT_S * 1e3)
                    self.unrecovered += 1
                    self.rebuild()

    def _is_whole(self) -> bool:
        return len(self.worker_pids()) >= WORKERS

    def _kill_one(self) -> float:
        workers = self.worker_pids()
        offset = stamps.size(self.stamps)
        killed_at = time.monotonic_ns()
        os.kill(random.choice(workers), signal.SIGKILL)
        first: list[int] = []

        def is_replaced() -> bool:
            lines = stamps.read(self.stamps, offset)
            first[:] = [at for at, pid in lines if pid not in workers and at > killed_at][:1]
            return bool(first)

        wait_until(is_replaced, RECOVERY_TIMEOUT_S, f"a new worker of {self.name} has a batch")
        return (first[0] - killed_at) / 1e6


def run(*, kills: int, with_peers: bool) -> Sequence[Figure]:
    """`kills` kills of workers on each side."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkhead-bench-")))
        directory.chmod(0o755)  # workers have users of their own, and write stamps into it
        peers = _peers(stack, directory) if with_peers else []
        service = stack.enter_context(_service(directory / "bulkhead"))
        capacity = bulkhead.run_load(service, seconds=2.0, batch_events=BATCH).rate
        ours = Side(
            "Bulkhead",
            directory / "bulkhead",
            service.worker_pids,
            lambda: _paced_load(service, capacity * SHARE_OF_CAPACITY),
        )
        sides = [ours, *peers]
        while len(sides[-1].recoveries_ms) < kills:
            block = min(KILLS_A_BLOCK, kills - len(sides[-1].recoveries_ms))
            for side in sides:
                side.kill_some(block)
    return [figure for side in sides for figure in _figures(side)]


def _peers(stack: contextlib.ExitStack, directory: Path) -> list[Side]:
    """All others, before any thread starts: two of them fork this process."""
    pebble = Pebble(WORKERS, directory / "pebble")
    stack.callback(pebble.close)
    futures = Futures(WORKERS, directory / "futures")
    stack.callback(futures.close)
    celery = stack.enter_context(celery_peer.running(WORKERS, stamps=directory / "celery"))
    return [
        _peer_side("pebble", pebble, directory / "pebble"),
        _peer_side("concurrent.futures", futures, directory / "futures"),
        # Its parent prefers one child while that one is free; only a burst reaches both.
        _peer_side("Celery prefork", celery, directory / "celery", burst=4),
    ]


def _figures(side: Side) -> Sequence[Figure]:
    times = side.recoveries_ms
    is_ours = side.name == "Bulkhead"
    # The A/A pair of a distribution: its even and its odd half.
    noise = difference(statistics.median(times[::2]), statistics.median(times[1::2]))
    goals = (GOAL_MEDIAN_MS, GOAL_P99_MS) if is_ours else (None, None)
    count = f"{len(times)} kills, worst {max(times):.3g} ms"
    if side.unrecovered:
        count += f"; {side.unrecovered} times no batch within {RECOVERY_TIMEOUT_S:g} s"
    return [
        Figure(
            f"{side.name}, median", statistics.median(times), "ms", goals[0], False, noise, count
        ),
        Figure(f"{side.name}, p99", percentile(times, 0.99), "ms", goals[1], False, noise),
    ]


@contextlib.contextmanager
def _service(stamps_path: Path) -> Iterator[RunningService]:
    sections = bulkhead.plugin_sections(
        "bench-stamp",
        settings={"path": str(stamps_path)},
        connection={"linger": "0s", "batch_events": BATCH},
        pool={"workers": WORKERS, "spares": 1, "write_paths": [writable(stamps_path)]},
    )
    with bulkhead.running(sections) as service:
        yield service


@contextlib.contextmanager
def _paced_load(service: RunningService, rate: float) -> Iterator[None]:
    load = Load(service.api_port, bulkhead.next_prefix(), rate=rate, batch_events=BATCH)
    with load:
        load.start()
        yield
        load.stop()
        load.finish()


def _peer_side(name: str, peer: PoolPeer, stamps_path: Path, burst: int = 1) -> Side:
    parts = event_parts("peer")
    events = [numbered(parts, number).decode() for number in range(BATCH_EVENTS)]
    started = time.monotonic()
    for _ in range(CAPACITY_LISTS):
        peer.send(events)
    peer.wait_until_done()
    lists_per_s = CAPACITY_LISTS / (time.monotonic() - started)

    @contextlib.contextmanager
    def load() -> Iterator[None]:
        def send() -> None:
            for _ in range(burst):
                peer.send(events)

        with _paced_calls(send, lists_per_s * SHARE_OF_CAPACITY / burst):
            yield
        peer.wait_until_done()

    return Side(name, stamps_path, peer.worker_pids, load, peer.rebuild)


@contextlib.contextmanager
def _paced_calls(call: Callable[[], None], per_s: float) -> Iterator[None]:
    """Calls `call` at a steady rate from a thread; what it raises comes out of here."""
    end = threading.Event()
    failures: list[BaseException] = []

    def keep_calling() -> None:
        due = time.monotonic()
        try:
            while not end.wait(max(0.0, due - time.monotonic())):
                call()
                due += 1 / per_s
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits for it
            failures.append(error)

    thread = threading.Thread(target=keep_calling)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    if failures:
        raise failures[0]
