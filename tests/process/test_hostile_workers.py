"""Whatever a worker says: it costs that worker its life, and the supervisor nothing."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.conftest import StartService
from tests.harness.service import writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.plugins.trials import LIES

PLUGINS = str(Path(__file__).parent / "plugins")


@pytest.mark.parametrize("lie", LIES)
def test_nonsense_on_the_wire_costs_only_its_worker(
    running_service: StartService, tmp_path: Path, lie: str
) -> None:
    """The liar is killed for `protocol`, its event waits, and its neighbour is served."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "retry": {"first_delay": "500ms"},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 1,
                "write_paths": [writable(diary)],
            },
            "destinations.liar": {"class": "trials:Liar"},
            "destinations.diary": {"class": "trials:Diary"},
            "connections.bad": {
                "source": "test",
                "destination": "liar",
                "settings": {"says": lie},
            },
            "connections.trial": {
                "source": "test",
                "destination": "diary",
                "settings": {"path": str(diary)},
            },
        }
    )
    memory = psutil.Process(service.pid).memory_info().rss
    post(service.url, [track("m1")])
    end = service.first_exit()
    assert end["reason"] == "protocol", end
    assert end["detail"]
    post(service.url, [track("m2")])
    wait_until(
        lambda: {line.split()[0] for line in diary.read_text().splitlines()} == {"m1", "m2"},
        20,
        "the neighbour's events",
    )
    assert psutil.Process(service.pid).memory_info().rss < memory + 64 * 1024**2
    books = service.books()
    ended = ("delivered_first_try", "delivered_on_retry", "quarantined", "pending")
    assert books["accepted"] == sum(books[name] for name in ended)
