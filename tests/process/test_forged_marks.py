"""Whose step keeps an event loop is a worker's own word: no neighbour is named on it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from tests.conftest import StartService
from tests.harness.service import writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")
NEIGHBOURS = ("trial-1", "trial-2", "trial-3")


def test_forged_marks_name_no_neighbour_and_lead_to_who_forges_them(
    running_service: StartService, tmp_path: Path
) -> None:
    """Whoever is marked runs apart for a while and is charged nothing; the forger, which was there
    each time, blocks the loop where it is alone too, and is named for it."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 2,
                "write_paths": [writable(diary)],
            },
            "destinations.framer": {"class": "trials:Framer"},
            "destinations.diary": {"class": "trials:Diary"},
            "sources.other": {"write_key": "other-key"},
            "connections.bad": {"source": "other", "destination": "framer"},
            **{
                f"connections.{name}": {
                    "source": "test",
                    "destination": "diary",
                    "settings": {"path": str(diary), "seconds": 0.2},
                    "batch_events": 1,
                }
                for name in NEIGHBOURS
            },
        }
    )
    numbers = itertools.count()

    def is_found() -> bool:
        post(service.url, [track(f"m{next(numbers)}") for _ in range(4)])
        post(service.url, [track(f"b{next(numbers)}")], write_key="other-key")
        return bool(service.queue_of("bad")["blame"]["hogged"])

    wait_until(is_found, 60, "the forger is named")
    for name in NEIGHBOURS:
        blame = service.queue_of(name)["blame"]
        assert (blame["hogged"], blame["worker_deaths"], blame["trips"]) == (0, 0, 0), blame
    with service.log_path.open() as log:
        lines = [json.loads(line) for line in log if line.startswith("{")]
    named = {line["connection"] for line in lines if line["message"] == "connection_hogs"}
    assert named == {"bad"}
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
