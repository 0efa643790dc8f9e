"""Which connections leak is found out with real workers, whatever else the machine does.

A name is due within a minute, within two where neighbours cover it, and within one and a half
beside eight processes that take all the CPU they get; on a machine that is too slow to send that
many events by then, within `NAMED_EVENTS`. An innocent connection is never named, not for a moment:
the log is asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.conftest import StartService
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")
#: Seconds within which a leak is to be named: on a quiet machine, and beside `HOGS` busy loops.
NAMED_S, NAMED_BESIDE_HOGS_S = 60.0, 90.0
HOGS = 8
#: A leak is judged by what events leave behind: with so many of each connection it has to show.
#: `SLOWEST_S` ends a test whose events do not come through at all.
NAMED_EVENTS, SLOWEST_S = 600, 300.0
#: Seconds that a line may take to its file on a busy machine.
LOGGED_S = 10.0
MIB = 1024 * 1024


def config(
    connections: Mapping[str, Mapping[str, int]],
    *,
    destination: str = "keeper",
    workers: int = 2,
) -> dict[str, dict[str, object]]:
    """A pool in which all these connections of one source share the workers."""
    given: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "workers": workers,
            "memory_limit": "512MiB",
            "memory_soft_limit": "192MiB",
        },
        "destinations.hoarder": {"class": "hoarder:Hoarder"},
        "destinations.keeper": {"class": "keeper:Keeper"},
        "destinations.keeper-too": {"class": "keeper_too:KeeperToo"},
    }
    for name, settings in connections.items():
        given[f"connections.{name}"] = {
            "source": "test",
            "destination": destination,
            "settings": dict(settings),
        }
    return given


class Leaks:
    """What a running service says of leaks, while events come in."""

    def __init__(self, service: RunningService, every_s: float = 0.05) -> None:
        self._service = service
        self._every_s = every_s
        self._numbers = count()
        self._sent_at = 0.0
        self.in_question: list[list[str]] = []
        self.held_by: list[str | None] = []

    def named(self) -> set[str]:
        """Whoever is named now, after one more event where it is time for one."""
        if time.monotonic() - self._sent_at >= self._every_s:
            self._sent_at = time.monotonic()
            post(self._service.url, [track(f"m{next(self._numbers)}")])
        status = self._service.admin("/status")
        for group in status["pools"][0]["leaks_together"]:
            self.in_question.append(group["connections"])
            self.held_by.append(group["held_by"])
        return {
            queue["connection"]
            for queue in status["queues"]
            if queue["leak_bytes_per_event"] is not None
        }

    def wait_for(self, names: set[str], within_s: float) -> None:
        """Until these are named, and the log, which is written by a thread of its own, says so."""
        what = f"{', '.join(names)} are named"
        due = time.monotonic() + within_s

        def are_named() -> bool:
            if self.named() >= names:
                return True
            if time.monotonic() > due:
                worked_on = self.events_of_each()
                assert worked_on < NAMED_EVENTS, f"not after {worked_on} events: {what}"
            return False

        wait_until(are_named, SLOWEST_S, what)
        wait_until(lambda: self.ever_named() >= names, LOGGED_S, f"{', '.join(names)} are logged")

    def ever_named(self) -> set[str]:
        """Whoever was named at any time."""
        written = self._service.log_path.read_text()
        lines = [json.loads(line) for line in written[: written.rfind("\n") + 1].splitlines()]
        return {line["connection"] for line in lines if line["message"] == "connection_leaks"}

    def events_of_each(self) -> int:
        """Events that each connection has had delivered, on average."""
        status = self._service.admin("/status")
        return int(status["books"]["delivered_first_try"] / len(status["queues"]))

    def restarts(self) -> int:
        """Workers that have ended."""
        (pool,) = self._service.admin("/status")["pools"]
        return sum(worker["restarts"] for worker in pool["workers"])


@contextmanager
def hogs(within_s: float) -> Iterator[None]:
    """Busy loops that end by themselves."""
    loop = f"import time\nend = time.monotonic() + {within_s}\nwhile time.monotonic() < end: pass"
    running = [
        subprocess.Popen([sys.executable, "-c", loop], start_new_session=True) for _ in range(HOGS)
    ]
    try:
        yield
    finally:
        for hog in running:
            hog.kill()
            hog.wait()


def test_two_of_ten_that_leak_are_named(running_service: StartService) -> None:
    """All ten get the same events; one that works with much memory and one that buffers do not.

    What the latter fills and lets go of covers what the two leave in many a window.
    """
    settings: dict[str, dict[str, int]] = {f"c{n}": {} for n in range(10)}
    settings["c2"] = {"garbage": 40 * MIB}
    settings["c3"] = settings["c7"] = {"kept": 300_000}
    settings["c5"] = {"buffered": 1_000_000}
    leaks = Leaks(running_service(config(settings)))
    leaks.wait_for({"c3", "c7"}, 2 * NAMED_S)
    assert leaks.ever_named() == {"c3", "c7"}


def test_leak_is_named_beside_processes_that_take_all_cpu(running_service: StartService) -> None:
    """And no innocent one with it."""
    settings: dict[str, dict[str, int]] = {f"c{n}": {} for n in range(6)}
    settings["c1"] = {"garbage": 40 * MIB}
    settings["c4"] = {"kept": 300_000}
    leaks = Leaks(running_service(config(settings)))
    with hogs(2 * NAMED_BESIDE_HOGS_S):
        leaks.wait_for({"c4"}, NAMED_BESIDE_HOGS_S)
    assert leaks.ever_named() == {"c4"}


def test_leak_of_a_slow_sender_is_named(running_service: StartService) -> None:
    """An event a second, which leaves three megabytes behind."""
    settings = {"a": {}, "b": {"kept": 3_000_000}, "c": {"garbage": 20 * MIB}}
    leaks = Leaks(running_service(config(settings, workers=1)), every_s=1.0)
    leaks.wait_for({"b"}, NAMED_S)
    assert leaks.ever_named() == {"b"}


def test_cache_of_a_library_is_nobodys(running_service: StartService) -> None:
    """Two destinations fill it: nobody is named, and the group is said, with who holds it."""
    given = config({"a": {"shared": 1_000_000}, "b": {"shared": 500_000}, "c": {}})
    given["connections.d"] = {"source": "test", "destination": "keeper-too"}
    leaks = Leaks(running_service(given))

    def told() -> bool:
        assert leaks.named() == set()
        return "keeper_library" in leaks.held_by

    wait_until(told, NAMED_S, "the library is told of")
    wait_until(lambda: not leaks.named() and leaks.restarts() > 0, NAMED_S, "a worker is replaced")
    assert leaks.ever_named() == set()


def test_neighbour_that_shares_the_module_is_not_named(running_service: StartService) -> None:
    """A global of their module grows: the worker takes one batch at a time until it shows by whom.

    Until then `/status` says who is in question.
    """
    # Three megabytes an event.
    given = config({"hoarder": {"objects": 10_000}, "neighbour": {}}, destination="hoarder")
    given["pools.default"] |= {"workers": 1, "memory_soft_limit": "256MiB"}
    service = running_service(given)
    leaks = Leaks(service)
    leaks.wait_for({"hoarder"}, 2 * NAMED_S)
    (rate,) = (
        queue["leak_bytes_per_event"]
        for queue in service.admin("/status")["queues"]
        if queue["connection"] == "hoarder"
    )
    assert rate > 1_000_000
    assert ["hoarder", "neighbour"] in leaks.in_question
    assert leaks.ever_named() == {"hoarder"}
