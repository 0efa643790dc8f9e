"""A worker's own word charges nobody but who had that worker alone: nothing costs the neighbour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartService
from tests.harness.service import writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.plugins.trials import FORGERIES
from tests.torture.watching import exits_of

PLUGINS = str(Path(__file__).parent / "plugins")
#: Events of either connection: each of the forger's is a chance to accuse the neighbour.
EVENTS = 8


@pytest.mark.parametrize("names", ["trial", "stranger", "nobody at all"])
@pytest.mark.parametrize("after_s", [0.0, 0.6])
@pytest.mark.parametrize("says", FORGERIES)
def test_forged_reports_cost_the_neighbour_nothing(
    running_service: StartService, tmp_path: Path, says: str, names: str, after_s: float
) -> None:
    """In its name, in one that was never there, in none, while its batch runs and afterwards.

    It is neither charged nor tripped nor quarantined, and has all delivered; a lie that the kernel
    sees through or that is none of an honest worker's costs its worker's company nothing but time.
    """
    diary = tmp_path / "diary" / "lines"
    neighbour = {"source": "test", "destination": "diary"}
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "retry": {"first_delay": "100ms", "max_delay": "500ms"},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 1,
                "write_paths": [writable(diary)],
            },
            "pools.apart": {"destinations": ["elsewhere"], "workers": 1, "spares": 0},
            "destinations.forger": {"class": "trials:Forger"},
            "destinations.diary": {"class": "trials:Diary"},
            "destinations.elsewhere": {"class": "trials:Raises"},
            "connections.bad": {
                "source": "test",
                "destination": "forger",
                "settings": {"says": says, "names": names, "after_s": after_s},
            },
            "connections.trial": {
                **neighbour,
                "settings": {"path": str(diary), "seconds": 0.3},
                "batch_events": 1,
            },
            "connections.stranger": {"source": "test", "destination": "elsewhere"},
        }
    )
    ids = {f"m{n}" for n in range(EVENTS)}
    for name in sorted(ids):
        post(service.url, [track(name)])

    def delivered() -> set[str]:
        return {line.split()[0] for line in diary.read_text().splitlines()}

    wait_until(lambda: delivered() == ids, 60, "the neighbour's events")
    wait_until(lambda: _books(service, "trial")["pending"] == 0, 60, "all of them are settled")
    innocent = service.queue_of("trial")
    assert innocent["state"] != "tripped", innocent
    for charge in ("worker_deaths", "workers_used_up", "quarantined", "trips"):
        assert innocent["blame"][charge] == 0, innocent
    ends = exits_of(service, "default")
    assert not [end for end in ends if end["connection"] in ("trial", "stranger")], ends
    assert _books(service, "trial")["delivered_first_try"] == EVENTS
    assert service.queue_of("stranger")["blame"] == service.queue_of("stranger")["blame"] | {
        "worker_deaths": 0,
        "trips": 0,
    }


def _books(service: Any, connection: str) -> dict[str, int]:  # Any: JSON
    found: dict[str, int] = service.admin("/books")["connections"][connection]
    return found
