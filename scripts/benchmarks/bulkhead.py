"""Bulkhead as a thing to measure: a service on a scratch directory with one connection.

Owns its configs and how its figures are read from outside. Must not know
rows, goals or peers.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.benchmarks.load import Load
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
    """One load, from its first request until everything was delivered. CPU in seconds."""

    events: int
    seconds: float
    supervisor_cpu_s: float

    @property
    def rate(self) -> float:
        """Events a second, end to end."""
        return self.events / self.seconds

    @property
    def cpu_us_per_event(self) -> float:
        """Supervisor CPU (user and system) for one event, in microseconds."""
        return self.supervisor_cpu_s / self.events * 1e6


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
    sections: Mapping[str, Mapping[str, object]], cores: frozenset[int] | None = None
) -> Iterator[RunningService]:
    """A service on a directory of its own, which is gone afterwards with all its processes."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as directory:
        service = RunningService(Path(directory), sections, cores)
        try:
            yield service.start()
            service.stop()
        finally:
            service.kill()


def cpu_s(pid: int) -> float:
    """User and system time of one process so far, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def run_load(
    service: RunningService, *, seconds: float, connections: int = 16, fan_out: int = 1
) -> Run:
    """Send as much as is taken for `seconds`, and wait until all of it is delivered.

    Each event makes `fan_out` deliveries. Raises RuntimeError where not every
    accepted event was delivered.
    """
    before = _delivered(service)
    with Load(service.api_port, next_prefix(), seconds=seconds, connections=connections) as load:
        cpu_before, started = cpu_s(service.pid), time.monotonic()
        report = load.start().finish()
        _wait_until_delivered(service, before + report.events * fan_out)
        seconds = time.monotonic() - started
        return Run(report.events, seconds, cpu_s(service.pid) - cpu_before)


def run_backlog(service: RunningService, events: int) -> Run:
    """Deliver a backlog that is already on disk: intake is no part of the figure."""
    before = _delivered(service)
    service.admin(f"/connections/{CONNECTION}/pause", "POST")
    with Load(service.api_port, next_prefix(), events=events, connections=4) as load:
        report = load.start().finish()
    cpu_before, started = cpu_s(service.pid), time.monotonic()
    service.admin(f"/connections/{CONNECTION}/resume", "POST")
    _wait_until_delivered(service, before + report.events)
    seconds = time.monotonic() - started
    return Run(report.events, seconds, cpu_s(service.pid) - cpu_before)


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
