"""Which of two connections of one source leaks is found out with real workers."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from tests.conftest import StartService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")


def test_neighbour_with_the_same_events_is_not_named(running_service: StartService) -> None:
    """The worker takes one batch at a time until it shows who leaks; the other is innocent.

    Until then `/status` says who is in question.
    """
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "memory_limit": "512MiB",
                "memory_soft_limit": "256MiB",
            },
            "destinations.hoarder": {"class": "hoarder:Hoarder"},
            # Three megabytes an event.
            "connections.hoarder": {
                "source": "test",
                "destination": "hoarder",
                "settings": {"objects": 10_000},
            },
            "connections.neighbour": {"source": "test", "destination": "hoarder"},
        }
    )
    numbers = count()
    in_question: list[dict[str, object]] = []

    def named() -> dict[str, float | None]:
        """What is known after one more event."""
        post(service.url, [track(f"m{next(numbers)}")])
        status = service.admin("/status")
        in_question.extend(status["pools"][0]["leaks_together"])
        return {queue["connection"]: queue["leak_bytes_per_event"] for queue in status["queues"]}

    wait_until(lambda: named()["hoarder"] is not None, 60, "the leak is named")
    assert (named()["hoarder"] or 0) > 1_000_000
    assert ["hoarder", "neighbour"] in [group["connections"] for group in in_question]
    lines = [json.loads(line) for line in service.log_path.read_text().splitlines()]
    said = [(line["message"], line.get("connection")) for line in lines]
    assert ("connection_leaks", "hoarder") in said
    assert ("connection_leaks", "neighbour") not in said
