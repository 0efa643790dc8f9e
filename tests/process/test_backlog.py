"""A destination that is down: its backlog costs neither memory nor time at the next start."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.conftest import StartService
from tests.harness.sink import SinkProcess
from tests.process.client import post, track

EVENTS = 100_000


def test_hundred_thousand_pending_events_and_a_restart(
    running_service: StartService, sink: SinkProcess, tmp_path: Path
) -> None:
    """Up again in under two seconds with bounded memory, and all delivered when it is back."""
    sink.answer_with(500)
    service = running_service(
        {
            "retry": {"first_delay": "100ms", "max_delay": "1s"},
            "pools.default": {
                "destinations": ["*"],
                "allow": [sink.url.removeprefix("http://").strip("/")],
            },
            "connections.hook": {
                "source": "test",
                "destination": "webhooks",
                "settings": {"url": sink.url},
            },
        }
    )
    for start in range(0, EVENTS, 1000):
        post(service.url, [track(f"m{n}") for n in range(start, start + 1000)])
    assert service.books()["pending"] == EVENTS
    service.kill()
    began = time.monotonic()
    service.start()
    assert time.monotonic() - began < 2.0
    assert psutil.Process(service.pid).memory_info().rss < 150 * 1024**2
    assert service.books()["pending"] == EVENTS
    sink.answer_with(200)
    service.wait_for(lambda books: books["pending"] == 0, within_s=100)
    received = sink.received()
    assert len(received) == EVENTS
    assert psutil.Process(service.pid).memory_info().rss < 200 * 1024**2
