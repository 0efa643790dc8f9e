"""What a look at a worker finds is tried: the guilty is named by that, and nobody else ever is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.blame import beside
from tests.conftest import StartService
from tests.harness.service import RunningService, writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import ROWS
from tests.torture.sections import sections
from tests.torture.watching import books_of, exits_of

TRIALS = str(Path(__file__).parent / "plugins")
#: Each is found some time after it was done: names, bytes, descriptors, processes, memory.
HABITS = {
    "nests-folders",
    "fills-its-scratch-folder",
    "keeps-unlinked-files",
    "leaks-files",
    "forks-without-end",
    "orphans-a-child",
    "hoards",
}
#: Seconds for all of it beside busy loops.
PATIENCE_S = 120.0
HOGS = 4


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """CPUs are short."""
    with beside(HOGS):
        yield


@pytest.mark.usefixtures("busy_machine")
def test_trial_names_the_guilty_and_never_the_neighbour(running_service: StartService) -> None:
    """One worker has both, the neighbour with a batch at almost all times.

    Nothing is held against the neighbour in the end, and all its events arrive on the first try.
    """
    rows = [row for row in ROWS if row.name in HABITS]
    assert len(rows) == len(HABITS)
    made = sections(rows)
    for row in rows:
        made[f"pools.{row.name}"]["workers"] = 1
        made[f"connections.{row.name}-good"]["batch_events"] = 1
    service = running_service(made)
    for row in rows:
        events = [track(f"{row.name}-{n}") for n in range(40)]
        events.insert(20, track(f"{row.name}-bad", "Bad"))
        post(service.url, events, write_key=f"key-{row.name}")
    for row in rows:
        bad, good = f"{row.name}-bad", f"{row.name}-good"
        wait_until(
            partial(_is_named, service, row.name, bad), PATIENCE_S, f"an exit that names {bad}"
        )
        wait_until(partial(_is_done, service, good), PATIENCE_S, f"all of {good}")
        assert named(service, row.name) <= {bad, None}, exits_of(service, row.name)
        assert books_of(service, good)["delivered_first_try"] == 41
        blame: dict[str, Any] = service.queue_of(good)["blame"]  # Any: JSON
        for charge in ("worker_deaths", "workers_used_up", "quarantined", "trips"):
            assert blame[charge] == 0, (good, blame)
        service.admin(f"/connections/{bad}/pause", "POST")


def test_neighbour_is_not_named_for_what_an_ended_batch_left(
    running_service: StartService, tmp_path: Path
) -> None:
    """It has the only batch when the worker is ended for that, and had it all the while."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(
        {
            "service": {"plugin_paths": [TRIALS]},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 1,
                "write_paths": [writable(diary)],
            },
            "sources.other": {"write_key": "key-other"},
            "destinations.litters": {"class": "trials:Litters"},
            "destinations.diary": {"class": "trials:Diary"},
            "connections.bad": {"source": "other", "destination": "litters"},
            "connections.good": {
                "source": "test",
                "destination": "diary",
                "settings": {"path": str(diary), "seconds": 3.0},
            },
        }
    )
    post(service.url, [track("good")])
    wait_until(partial(_has_batch, service), PATIENCE_S, "the neighbour's batch runs")
    post(service.url, [track("bad")], write_key="key-other")
    wait_until(lambda: bool(exits_of(service, "default")), PATIENCE_S, "an exit of its worker")
    wait_until(lambda: service.books()["pending"] == 0, PATIENCE_S, "all is settled")
    assert "good" not in named(service, "default"), exits_of(service, "default")
    assert books_of(service, "good")["delivered_first_try"] == 1
    blame = service.queue_of("good")["blame"]
    assert (blame["worker_deaths"], blame["workers_used_up"], blame["trips"]) == (0, 0, 0)


def _has_batch(service: RunningService) -> bool:
    (pool,) = service.admin("/status")["pools"]
    return bool(pool["workers"][0]["inflight_batches"])


def _is_named(service: RunningService, pool: str, connection: str) -> bool:
    return connection in named(service, pool)


def _is_done(service: RunningService, connection: str) -> bool:
    return books_of(service, connection)["pending"] == 0


def named(service: RunningService, pool: str) -> set[str | None]:
    """Whom exits of its workers name."""
    return {end["connection"] for end in exits_of(service, pool)}
