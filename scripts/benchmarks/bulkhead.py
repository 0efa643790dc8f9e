"""Bulkhead as a thing to measure: a service on a scratch directory with one connection.

Owns its configs and how its figures are read from outside. Must not know
rows, goals or peers.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.load import BATCH_EVENTS, Load
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until

PLUGINS = Path(__file__).parent / "plugins"
#: The name of the only connection.
CONNECTION = "measured"
#: Longest wait for a backlog to be delivered, in seconds.
DRAIN_TIMEOUT_S = 300.0

_prefixes = itertools.count()


def next_prefix() -> str:
    """Message ids of every load differ, so that none is taken for a repeat."""
    return f"load{next(_prefixes)}"


@dataclass(frozen=True)
class Run:
    """One load, from its first request until everything was delivered. CPU in seconds.

    `worker_cpu_s` is that of all workers together, nan where one of them ended meanwhile.
    """

    events: int
    seconds: float
    supervisor_cpu_s: float
    worker_cpu_s: float

    @property
    def rate(self) -> float:
        """Events a second, end to end."""
        return self.events / self.seconds

    @property
    def cpu_us_per_event(self) -> float:
        """Supervisor CPU (user and system) for one event, in microseconds."""
        return self.supervisor_cpu_s / self.events * 1e6

    @property
    def worker_cpu_us_per_event(self) -> float:
        """CPU of the workers for one event, in microseconds."""
        return self.worker_cpu_s / self.events * 1e6


def plugin_sections(
    destination: str,
    *,
    settings: Mapping[str, object] | None = None,
    connection: Mapping[str, object] | None = None,
    pool: Mapping[str, object] | None = None,
) -> dict[str, dict[str, object]]:
    """Config sections of a service whose one connection runs a class of the plugin folder."""
    class_name = destination.removeprefix("bench-").capitalize()
    return {
        "service": {"plugin_paths": [str(PLUGINS)]},
        f"destinations.{destination}": {"class": f"bench_destinations:{class_name}"},
        "pools.default": {"destinations": ["*"], **(pool or {})},
        f"connections.{CONNECTION}": {
            "source": "test",
            "destination": destination,
            "settings": dict(settings or {}),
            **(connection or {}),
        },
    }


@contextlib.contextmanager
def running(
    sections: Mapping[str, Mapping[str, object]],
    cores: frozenset[int] | None = None,
    module: str = "supervisor",
    output: int | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[RunningService]:
    """A service on a directory of its own, which is gone afterwards with all its processes.

    `module`, `output` and `prefix` are those of `RunningService`.
    """
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as directory:
        service = RunningService(
            Path(directory), sections, cores, module=module, output=output, prefix=prefix
        )
        try:
            yield service.start()
            service.stop()
        finally:
            service.kill()


def cpu_s(pid: int) -> float:
    """User and system time of one process so far, in seconds. Raises OSError where it is gone.

    By its clock, to the nanosecond, and not by `/proc`, which counts ticks of ten milliseconds:
    see clock_getcpuclockid(3).
    """
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def run_load(
    service: RunningService,
    *,
    seconds: float,
    connections: int = 16,
    fan_out: int = 1,
    batch_events: int = BATCH_EVENTS,
) -> Run:
    """Send as much as is taken for `seconds`, and wait until all of it is delivered.

    Each event makes `fan_out` deliveries; a request has `batch_events` events. Raises
    RuntimeError where not every accepted event was delivered.
    """
    before = _delivered(service)
    load = Load(
        service.api_port,
        next_prefix(),
        seconds=seconds,
        connections=connections,
        batch_events=batch_events,
    )
    with load:
        watch = _Watch(service)
        report = load.start().finish()
        _wait_until_delivered(service, before + report.events * fan_out)
        return watch.run(report.events)


def run_backlog(service: RunningService, events: int) -> Run:
    """Deliver a backlog that is already on disk: intake is no part of the figure."""
    before = _delivered(service)
    service.admin(f"/connections/{CONNECTION}/pause", "POST")
    with Load(service.api_port, next_prefix(), events=events, connections=4) as load:
        report = load.start().finish()
    watch = _Watch(service)
    service.admin(f"/connections/{CONNECTION}/resume", "POST")
    _wait_until_delivered(service, before + report.events)
    return watch.run(report.events)


class _Watch:
    """Looks at the clocks of a service now, and again at the end of a load."""

    def __init__(self, service: RunningService) -> None:
        self._supervisor, self._workers = service.pid, service.worker_pids()
        self._cpu_s = self._now()
        self._started = time.monotonic()

    def run(self, events: int) -> Run:
        """What has passed since."""
        seconds = time.monotonic() - self._started
        before, after = self._cpu_s, self._now()
        return Run(events, seconds, after[0] - before[0], after[1] - before[1])

    def _now(self) -> tuple[float, float]:
        try:
            workers_s = sum(map(cpu_s, self._workers))
        except OSError:
            workers_s = math.nan
        return cpu_s(self._supervisor), workers_s


def _delivered(service: RunningService) -> int:
    books = service.books()
    return books["delivered_first_try"] + books["delivered_on_retry"]


def _wait_until_delivered(service: RunningService, events: int) -> None:
    wait_until(
        lambda: _delivered(service) >= events, DRAIN_TIMEOUT_S, f"{events} events are delivered"
    )
    books = service.books()
    if books["pending"] or books["delivered_on_retry"] or books["failed"]:
        raise RuntimeError(f"not every event was delivered at the first try: {books}")
