"""What a worker's page and frames say of its event loop is believed where it reads its wire."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.service import writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: What systemd is told, and its watchdog, are judged in each of these tests.
pytestmark = pytest.mark.usefixtures("managed")

PLUGINS = str(Path(__file__).parent / "plugins")
#: Seconds from the block to the last of the neighbour's events, on a busy machine: the block
#: timeout, the end of the worker and a spare in its place.
WITHIN_S = 15.0


@pytest.mark.parametrize(
    "fakes", [["beats"], ["beats", "figures"], ["beats", "figures", "answers"]], ids=len
)
def test_blocked_loop_whose_thread_beats_is_found(
    running_service: StartService, tmp_path: Path, fakes: list[str]
) -> None:
    """It is ended for `timeout`, its neighbours' batches do not wait for that, and it is blamed."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "retry": {"first_delay": "100ms", "max_delay": "500ms"},
            "pools.default": {
                "destinations": ["*"],
                "workers": 2,
                "spares": 1,
                "block_timeout": "1s",
                "write_paths": [writable(diary)],
            },
            "destinations.faker": {"class": "trials:Faker"},
            "destinations.diary": {"class": "trials:Diary"},
            "sources.other": {"write_key": "other-key"},
            "connections.bad": {
                "source": "other",
                "destination": "faker",
                "settings": {"fakes": fakes},
            },
            "connections.trial": {
                "source": "test",
                "destination": "diary",
                "settings": {"path": str(diary)},
                "batch_events": 1,
            },
        }
    )
    post(service.url, [track("fine")], write_key="other-key")
    post(service.url, [track("before")])
    post(service.url, [track("bad", "Bad")], write_key="other-key")
    wait_until(lambda: service.queue_of("bad")["inflight"] > 0, 20, "its loop is blocked")
    began = time.monotonic()
    ids = {"before"} | {f"m{n}" for n in range(20)}
    for name in sorted(ids - {"before"}):
        post(service.url, [track(name)])
    wait_until(
        lambda: {line.split()[0] for line in diary.read_text().splitlines()} == ids,
        WITHIN_S,
        "the neighbour's events",
    )
    assert time.monotonic() - began < WITHIN_S
    wait_until(lambda: service.books()["quarantined"] == 1, 30, "the bad event is found")
    ends = [
        end
        for end in service.admin("/debug/exits?pool=default")["exits"]
        if end["reason"] not in ("drain", "recycle")
    ]
    # A thread that writes frames beside its worker may break one of them on a busy machine.
    late = [end for end in ends if end["reason"] != "protocol"]
    assert {end["reason"] for end in late} == {"timeout"}, ends
    assert all("read nothing of its wire" in end["detail"] for end in late), ends
    assert service.queue_of("bad")["blame"]["worker_deaths"] >= 1
    assert service.queue_of("trial")["blame"]["worker_deaths"] == 0
