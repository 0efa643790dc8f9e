"""A worker that says more than it is worth: it is ended for that, and nobody waits meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.manager import MOST_LAG_S, asked_all_the_while
from tests.harness.service import writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.plugins.trials import FLOODS

#: What systemd is told, and its watchdog, are judged in each of these tests.
pytestmark = pytest.mark.usefixtures("managed")

PLUGINS = str(Path(__file__).parent / "plugins")


@pytest.mark.parametrize("says", FLOODS)
def test_flood_ends_its_worker_and_keeps_nobody_waiting(
    running_service: StartService, tmp_path: Path, says: str
) -> None:
    """The flooder is ended for `protocol`, once for each try; its neighbour has all delivered."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "retry": {"first_delay": "200ms", "max_delay": "1s"},
            "pools.default": {"destinations": ["*"], "workers": 1, "spares": 1},
            "pools.good": {
                "destinations": ["diary"],
                "workers": 1,
                "write_paths": [writable(diary)],
            },
            "sources.other": {"write_key": "other-key"},
            "destinations.flooder": {"class": "trials:Flooder"},
            "destinations.diary": {"class": "trials:Diary"},
            "connections.flood": {
                "source": "other",
                "destination": "flooder",
                "settings": {"says": says},
            },
            "connections.trial": {
                "source": "test",
                "destination": "diary",
                "settings": {"path": str(diary)},
            },
        }
    )
    ids = {f"m{n}" for n in range(10)}
    with asked_all_the_while(service.api_port) as answers:
        post(service.url, [track("bad")], write_key="other-key")
        for name in sorted(ids):
            post(service.url, [track(name)])
        wait_until(
            lambda: bool(service.exits(pool="default", reason="protocol")),
            30,
            "the flooder is ended",
        )
        wait_until(
            lambda: {line.split()[0] for line in diary.read_text().splitlines()} == ids,
            30,
            "the neighbour's events",
        )
    assert answers.statuses == {200}
    assert max(answers.seconds) < MOST_LAG_S, sorted(answers.seconds)[-5:]
    assert service.first_exit(pool="default", reason="protocol")["detail"]
    assert service.queue_of("flood")["blame"]["worker_deaths"] >= 1
    assert service.log_path.stat().st_size < 4 * 1024 * 1024
