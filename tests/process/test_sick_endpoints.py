"""Sick endpoints beside healthy ones in one pool: what each rule does, as `/status` tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.core.scheduling.retry_governor import GROWTH, LEAST_AT_ONCE, LEAST_PER_S, RECENT_S
from tests.conftest import StartService
from tests.harness.endpoints import EndpointsProcess
from tests.harness.ports import free_port
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post

HEALTHY = [f"healthy-{n}" for n in range(3)]
SICK = {
    "hanging": "hang/1",
    "one-a-second": "slow/1",
    "throttled": "throttle/600",
    "failing": "fail/600",
}


@pytest.fixture
def endpoints() -> Iterator[EndpointsProcess]:
    """Endpoints of every kind."""
    with EndpointsProcess() as process:
        yield process


def hook(url: str, **more: object) -> dict[str, object]:
    """A connection of the only source to this URL."""
    return {"source": "test", "destination": "webhooks", "settings": {"url": url}, **more}


def pool(endpoints: EndpointsProcess, *others: str) -> dict[str, dict[str, object]]:
    """One worker for all, which may speak to the endpoints."""
    return {
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "batch_timeout": "2s",
            "allow": [endpoints.address, *others],
        }
    }


def queue_of(service: RunningService, connection: str) -> dict[str, Any]:  # Any: JSON
    """Its line of `/status`."""
    queues: list[dict[str, Any]] = service.admin("/status")["queues"]
    return next(queue for queue in queues if queue["connection"] == connection)


def arrived(endpoints: EndpointsProcess, path: str) -> int:
    """Events that came, however often: on a busy machine a batch may be late, and sent again."""
    return len({one.id for one in endpoints.seen(path)})


def waiting_for(service: RunningService, message_id: str, connection: str) -> str:
    """What `explain` says of one delivery."""
    deliveries = service.admin(f"/events/{message_id}")["deliveries"]
    return str(next(one for one in deliveries if one["connection"] == connection)["waiting_for"])


def events(prefix: str, n: int, user: str = "ann") -> list[dict[str, object]]:
    """Small `track` events."""
    return [
        {"type": "track", "messageId": f"{prefix}{i}", "userId": user, "event": "Tested"}
        for i in range(n)
    ]


def test_each_rule_does_its_part_and_the_healthy_see_nothing_of_it(
    running_service: StartService, endpoints: EndpointsProcess
) -> None:
    """Five sick endpoints at once: the healthy have all, and each queue says what it waits for."""
    nobody = f"127.0.0.1:{free_port()}"
    service = running_service(
        {
            **pool(endpoints, nobody),
            **{f"connections.{name}": hook(f"{endpoints.url}ok/{name}") for name in HEALTHY},
            **{f"connections.{name}": hook(endpoints.url + path) for name, path in SICK.items()},
            "connections.refusing": hook(f"http://{nobody}/"),
        }
    )
    for n in range(20):
        post(service.url, events(f"m{n}-", 50))
    wait_until(
        lambda: all(arrived(endpoints, f"ok/{name}") == 1000 for name in HEALTHY),
        180,
        "the healthy endpoints have everything",
    )
    wait_until(
        lambda: all(
            queue_of(service, name)["state"] == "tripped"
            for name in ("hanging", "failing", "refusing")
        ),
        180,
        "what fails altogether trips",
    )
    assert "not finished within 2 s" in queue_of(service, "hanging")["state_reason"]
    assert "500" in queue_of(service, "failing")["state_reason"]
    assert "no connection" in queue_of(service, "refusing")["state_reason"]
    text = waiting_for(service, "m19-49", "refusing")
    assert "its circuit breaker, tripped since" in text
    wait_until(
        lambda: queue_of(service, "throttled")["state"] == "backing_off",
        30,
        "Retry-After holds the connection",
    )
    assert queue_of(service, "throttled")["next_attempt_in_s"] > 100
    assert "Retry-After" in waiting_for(service, "m19-49", "throttled")
    wait_until(
        lambda: queue_of(service, "one-a-second")["concurrency"] == 1,
        60,
        "one batch at a time where answers are late",
    )
    service.wait_for(
        lambda books: books["delivered_first_try"] + books["delivered_on_retry"] >= 3000,
        within_s=90,
    )


def test_retry_after_holds_over_a_restart(
    running_service: StartService, endpoints: EndpointsProcess
) -> None:
    """A destination that asked for ten minutes is not called before, whoever asks."""
    service = running_service(
        {**pool(endpoints), "connections.hook": hook(f"{endpoints.url}throttle/600")}
    )
    post(service.url, events("m", 100))
    wait_until(
        lambda: queue_of(service, "hook")["state"] == "backing_off", 30, "the hold has begun"
    )
    wait_until(
        lambda: (service.directory / "state" / "holds.json").exists(), 30, "the hold is on disk"
    )
    before = len(endpoints.seen("throttle/600"))
    service.kill()
    service.start()
    post(service.url, events("n", 100))
    queue = queue_of(service, "hook")
    assert queue["state"] == "backing_off"
    assert 300 < queue["next_attempt_in_s"] <= 600
    assert len(endpoints.seen("throttle/600")) == before


def test_order_of_each_user_holds_and_only_that_user_waits(
    running_service: StartService, endpoints: EndpointsProcess
) -> None:
    """With `ordering = "user"`, an endpoint that fails often gets each user's events in order."""
    path = "share/3"
    service = running_service(
        {
            **pool(endpoints),
            "retry": {"first_delay": "100ms", "max_delay": "300ms"},
            "connections.hook": hook(endpoints.url + path, ordering="user"),
        }
    )
    users = [f"user{n}" for n in range(5)]
    for n in range(6):
        for user in users:
            post(service.url, events(f"{user}-{n}-", 1, user))
    wait_until(
        lambda: queue_of(service, "hook")["held_users"] > 0, 30, "a user is held back by a retry"
    )
    service.kill()
    service.start()
    service.wait_for(lambda books: books["pending"] == 0, within_s=90)
    seen = endpoints.seen(path)
    assert any(one.status != 200 for one in seen)
    for user in users:
        taken = [one.id for one in seen if one.status == 200 and one.id.startswith(user)]
        firsts = list(dict.fromkeys(taken))  # a kill may repeat what was under way, in its place
        assert firsts == [f"{user}-{n}-0" for n in range(6)]


def test_real_retries_after_an_outage_stay_below_what_was_proven(
    running_service: StartService, endpoints: EndpointsProcess
) -> None:
    """Second by second, counted at the endpoint; and the backlog drains."""
    path = "share/3"
    service = running_service(
        {
            **pool(endpoints),
            "retry": {"first_delay": "200ms", "max_delay": "1s"},
            "connections.hook": hook(endpoints.url + path, batch_events=20),
        }
    )
    for n in range(16):
        post(service.url, events(f"m{n}-", 10))
    service.wait_for(lambda books: books["pending"] == 0, within_s=90)
    taken: Counter[int] = Counter()
    retries: Counter[int] = Counter()
    for one in endpoints.seen(path):
        taken[int(one.at)] += one.status == 200
        retries[int(one.at)] += one.again
    for second, n in retries.items():
        proven = max(taken[before] for before in range(second - RECENT_S - 1, second + 1))
        assert n <= 2 * max(LEAST_PER_S, GROWTH * proven) + LEAST_AT_ONCE
