"""Row `blame`: who is blamed, and for what, on a machine that is short of CPUs.

Owns the hogs and the count of verdicts. Habits of the torture list run a few at a time, each in a
pool beside a neighbour that behaves, and two of ten connections of one source leak. A verdict is
one exit of a worker, or a connection that is said to leak; it is wrong where it names another
connection or another reason than the list says. One that names nobody, since several were there,
is no wrong one, and is counted. What is not told within its time is missing.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmarks.comparison import Figure
from tests.harness.service import RunningService
from tests.process.client import post, track
from tests.torture.rows import PLUGINS, ROWS, Row
from tests.torture.sections import sections
from tests.torture.watching import books_of, exits_of

#: Busy loops beside the service, and habits at once.
HOGS, AT_ONCE = 8, 6
#: Seconds that verdicts of so many habits may take; and the goal for a leak's.
WITHIN_S, LEAK_WITHIN_S = 90.0, 90.0
#: Connections of one source, and those of them that leak.
CONNECTIONS, LEAKING = 10, ("c-3", "c-7")
LOOK_S = 0.5
#: It ends when its input does: with us.
_LOOP = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
while True:
    pass
"""


@dataclass
class Verdicts:
    """Those of a run; texts say what was wrong or missing, `named_s` when leaks were named."""

    total: int = 0
    wrong: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    named_s: list[float] = field(default_factory=list)


def names() -> list[str]:
    """Of the rows that may be chosen."""
    return [row.name for row in ROWS]


def run(*, rows: Sequence[str], rounds: int, hogs: int, leaks: bool) -> tuple[list[Figure], bool]:
    """The figures, and whether no verdict was wrong."""
    chosen = [row for row in ROWS if not rows or row.name in rows]
    found = Verdicts()
    with beside(hogs):
        for _ in range(rounds):
            for first in range(0, len(chosen), AT_ONCE):
                _judge_habits(chosen[first : first + AT_ONCE], found)
            if leaks:
                _judge_leaks(found)
    figures = [
        Figure(
            "wrong names or reasons", len(found.wrong), "", 0, False, 0.0,
            f"of {found.total} verdicts, {hogs} hogs beside; {'; '.join(found.wrong)}",
        ),
        Figure("naming nobody", len(found.unnamed), "", None, False, 0.0, "; ".join(found.unnamed)),
        Figure("missing", len(found.missing), "", 0, False, 0.0, "; ".join(found.missing)),
    ]  # fmt: skip
    if found.named_s:
        figures.append(
            Figure("last leak named", max(found.named_s), "s", LEAK_WITHIN_S, False, 0.0)
        )
    return figures, not found.wrong


@contextlib.contextmanager
def beside(hogs: int) -> Iterator[None]:
    """So many busy loops, which end with us."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _LOOP], stdin=subprocess.PIPE) for _ in range(hogs)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def _service(made: Mapping[str, Mapping[str, object]]) -> Iterator[RunningService]:
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as directory:
        service = RunningService(Path(directory), made)
        try:
            yield service.start()
        finally:
            service.kill()


def _judge_habits(rows: Sequence[Row], found: Verdicts) -> None:
    with _service(sections(rows)) as service:
        for row in rows:
            events = [track(f"{row.name}-{n}") for n in range(9)]
            for n in range(row.bad_events):
                events.insert(5, track(f"{row.name}-bad-{n}", "Bad"))
            post(service.url, events, write_key=f"key-{row.name}")
        until, open_rows = time.monotonic() + WITHIN_S, list(rows)
        while open_rows and time.monotonic() < until:
            time.sleep(LOOK_S)
            open_rows = [row for row in open_rows if not _is_told(service, row)]
        for row in rows:
            ends = exits_of(service, row.name)
            found.total += max(1, len(ends))
            found.wrong += [
                f"{row.name}: {end['reason']} ({end['detail']}) of {end['connection']}"
                for end in ends
                if end["reason"] != row.exits
                or not re.search(row.detail, end["detail"])
                or end["connection"] not in (None, f"{row.name}-bad")
            ]
            found.unnamed += [row.name for end in ends if end["connection"] is None]
        found.missing += [row.name for row in open_rows]


def _is_told(service: RunningService, row: Row) -> bool:
    if row.exits is not None:
        return bool(exits_of(service, row.name))
    books = books_of(service, f"{row.name}-bad")
    return books["delivered_first_try"] + books["delivered_on_retry"] >= 9


def _judge_leaks(found: Verdicts) -> None:
    made: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "pools.default": {
            "destinations": ["*"], "workers": 2,
            "memory_limit": "128MiB", "memory_soft_limit": "96MiB",
        },
        "destinations.good": {"class": "torture:Neighbour"},
        "destinations.bad": {"class": "torture:Torture"},
    }  # fmt: skip
    all_names = [f"c-{number}" for number in range(CONNECTIONS)]
    for name in all_names:
        is_bad = name in LEAKING
        made[f"connections.{name}"] = {
            "source": "test",
            "destination": "bad" if is_bad else "good",
            **({"settings": {"habit": "leaks_in_itself"}} if is_bad else {}),
        }
    with _service(made) as service:
        began, sent, named = time.monotonic(), 0, dict[str, float]()
        while time.monotonic() < began + LEAK_WITHIN_S and not named.keys() >= set(LEAKING):
            post(service.url, [track(f"{sent}-{n}", "Bad") for n in range(10)])
            sent += 1
            for queue in service.admin("/status")["queues"]:
                if queue["leak_bytes_per_event"]:
                    named.setdefault(queue["connection"], time.monotonic() - began)
            time.sleep(LOOK_S)
    found.total += CONNECTIONS
    found.wrong += [f"{name} is said to leak" for name in named if name not in LEAKING]
    found.missing += [f"{name} leaks" for name in LEAKING if name not in named]
    found.named_s += [named[name] for name in LEAKING if name in named]
