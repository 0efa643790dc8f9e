"""A destination that is down: its backlog costs neither memory nor time at the next start."""

from __future__ import annotations

import psutil

from tests.conftest import StartService
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.process.client import post, track

EVENTS = 100_000


def cpu_s(service: RunningService) -> float:
    """Seconds of CPU that the supervisor has used: other than time, the same on a busy machine."""
    used = psutil.Process(service.pid).cpu_times()
    return used.user + used.system


def test_hundred_thousand_pending_events_and_a_restart(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Up again at the price of a start with nothing, in bounded memory, and all is delivered."""
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
                "settings": {"url": sink.url, "batch": True},
            },
        }
    )
    price_of_nothing_s = cpu_s(service)
    for start in range(0, EVENTS, 1000):
        post(service.url, [track(f"m{n}") for n in range(start, start + 1000)])
    assert service.books()["pending"] == EVENTS
    service.kill()
    service.start()
    assert cpu_s(service) < price_of_nothing_s + 0.5
    assert psutil.Process(service.pid).memory_info().rss < 150 * 1024**2
    assert service.books()["pending"] == EVENTS
    sink.answer_with(200)
    service.wait_for(lambda books: books["pending"] == 0, within_s=100)
    received = sink.received()
    assert len(received) == EVENTS
    assert psutil.Process(service.pid).memory_info().rss < 200 * 1024**2
