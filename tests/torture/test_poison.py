"""Events that kill their worker: found at a bounded cost, with everybody else's delivered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import PLUGINS

#: Seconds for what takes one or two on a quiet machine.
PATIENCE_S = 60.0
#: How each pool's bad connection kills, and how its pool is made.
KINDS: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "one": ({}, {"workers": 2}),
    "reported": ({"reports": True}, {"workers": 2}),
    "every": ({}, {"workers": 2}),
    "company": ({"company": 2}, {"workers": 2}),
    "third": ({"chance": 1 / 3}, {"workers": 2}),
    "single": ({}, {"workers": 1, "spares": 0}),
    "forger": ({"forges": True}, {"workers": 1}),
}
#: The class of its neighbour, where that is another than usual.
NEIGHBOURS = {"forger": "poison:Bystander"}


def sections(sink: SinkProcess) -> dict[str, dict[str, object]]:
    """Pool, source, and connections KIND-bad and KIND-good for each kind."""
    address = sink.url.removeprefix("http://").strip("/")
    made: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "retry": {"first_delay": "100ms", "max_delay": "1s"},
    }
    for kind, (settings, pool) in KINDS.items():
        bad, good = f"{kind}-bad", f"{kind}-good"
        made |= {
            f"pools.{kind}": {"destinations": [bad, good], "allow": [address], **pool},
            f"sources.{kind}": {"write_key": f"key-{kind}"},
            f"destinations.{bad}": {"class": "poison:Poison"},
            f"destinations.{good}": {"class": NEIGHBOURS.get(kind, "torture:Neighbour")},
            f"connections.{bad}": {
                "source": kind,
                "destination": bad,
                "settings": {"url": sink.url, **settings},
            },
            f"connections.{good}": {"source": kind, "destination": good},
        }
    return made


@pytest.fixture(scope="module")
def patient_sink() -> Iterator[SinkProcess]:
    with SinkProcess() as process:
        yield process


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, patient_sink: SinkProcess
) -> Iterator[RunningService]:
    """One service for all kinds; the books balance at its end."""
    running = RunningService(tmp_path_factory.mktemp("poison"), sections(patient_sink))
    try:
        yield running.start()
        running.stop()
        audit = running.command("audit", "--config", str(running.config_path))
        assert audit.returncode == 0, audit.stdout
    finally:
        running.kill()


def send(service: RunningService, kind: str, bad: set[int], events: int = 100) -> None:
    """Events KIND-0 and so on, of which some are bad."""
    named = [track(f"{kind}-{n}", "Bad" if n in bad else "Fine") for n in range(events)]
    post(service.url, named, write_key=f"key-{kind}")


def books(service: RunningService, connection: str) -> dict[str, int]:
    found: dict[str, int] = service.admin("/books")["connections"][connection]
    return found


def delivered(service: RunningService, connection: str) -> int:
    found = books(service, connection)
    return found["delivered_first_try"] + found["delivered_on_retry"]


def wait_for_the_end(service: RunningService, kind: str, events: int = 100) -> dict[str, int]:
    """Wait until nothing of a kind's connections is pending; the bad one's books."""

    def is_over(connection: str) -> bool:
        found = books(service, connection)
        return found["accepted"] == events and not found["pending"]

    for connection in (f"{kind}-good", f"{kind}-bad"):
        wait_until(partial(is_over, connection), PATIENCE_S, f"nothing of {connection} is pending")
    assert delivered(service, f"{kind}-good") == events
    return books(service, f"{kind}-bad")


def quarantined(service: RunningService, connection: str) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = service.admin(f"/deadletters?connection={connection}")[
        "deadletters"
    ]
    return letters


def executions(sink: SinkProcess, kind: str) -> dict[str, int]:
    """How often each event of a kind was given to its destination."""
    return {id: n for id, n in sink.received().items() if id.startswith(f"{kind}-")}


@pytest.mark.parametrize("kind", ["one", "reported", "single"])
def test_one_of_a_hundred_is_found(
    service: RunningService, patient_sink: SinkProcess, kind: str
) -> None:
    """It ends in quarantine with its evidence; the 99 arrive, each sent again twice at most."""
    send(service, kind, {57})
    assert wait_for_the_end(service, kind)["quarantined"] == 1
    assert delivered(service, f"{kind}-bad") == 99
    (letter,) = quarantined(service, f"{kind}-bad")
    assert letter["message_id"] == f"{kind}-57"
    assert "crash (exit status 3)" in letter["reason"]
    evidence = service.admin(f"/debug/exits/{letter['exit']}")
    assert evidence["connection"] == f"{kind}-bad"
    assert evidence["event"] == f"{kind}-57"
    counts = executions(patient_sink, kind)
    assert counts.pop(f"{kind}-57") == 3
    assert max(counts.values()) <= 3
    queue = service.queue_of(f"{kind}-bad")
    assert queue["state"] != "tripped"
    assert queue["blame"]["worker_deaths"] == 3
    assert queue["blame"]["extra_executions"] == sum(counts.values()) - 99 + 2


def test_killing_at_every_event_trips(service: RunningService) -> None:
    """Neighbours stay, the queue is kept and tried again later, and it is said why."""
    send(service, "every", set(range(100)))
    wait_until(
        lambda: service.queue_of("every-bad")["state"] == "tripped", PATIENCE_S, "it has tripped"
    )
    queue = service.queue_of("every-bad")
    assert re.search(
        r"workers killed, and too little delivered.*exit status 3", queue["state_reason"]
    )
    assert queue["depth"] >= 95
    wait_until(
        lambda: delivered(service, "every-good") == 100, PATIENCE_S, "the neighbour's events"
    )
    # Only the first death was in a worker that others use.
    (pool,) = [p for p in service.admin("/status")["pools"] if p["name"] == "every"]
    assert sum(worker["restarts"] for worker in pool["workers"]) <= 2
    assert pool["state"] == "running"
    (event,) = [
        found
        for found in service.admin("/events/every-99")["deliveries"]
        if found["connection"] == "every-bad"
    ]
    assert event["state"] == "pending"
    assert event["waiting_for"]
    trips = queue["blame"]["trips"]
    wait_until(
        lambda: service.queue_of("every-bad")["blame"]["trips"] > trips, PATIENCE_S, "another trial"
    )
    # One event a trial is lost to it.
    queue = service.queue_of("every-bad")
    assert books(service, "every-bad")["quarantined"] <= queue["blame"]["trips"] + 1
    service.admin("/connections/every-bad/pause", "POST")


def test_poison_in_company_only_is_delivered(service: RunningService) -> None:
    """Events that kill only where two of them meet arrive one by one."""
    send(service, "company", {20, 40, 60})
    assert wait_for_the_end(service, "company")["quarantined"] == 0
    assert delivered(service, "company-bad") == 100


def test_poison_once_in_three_ends(service: RunningService) -> None:
    """Each ends in one way or the other, and no innocent in quarantine."""
    send(service, "third", {10, 50, 90})
    found = wait_for_the_end(service, "third")
    assert found["quarantined"] + delivered(service, "third-bad") == 100
    assert {letter["message_id"] for letter in quarantined(service, "third-bad")} <= {
        "third-10",
        "third-50",
        "third-90",
    }


def test_forged_mark_costs_the_neighbour_nothing_but_time(service: RunningService) -> None:
    """Whoever is named by the page of a worker that lies is tried, and found innocent.

    The liar is found by what dies when it is alone.
    """
    send(service, "forger", {3}, events=20)
    assert wait_for_the_end(service, "forger", events=20)["quarantined"] == 1
    assert delivered(service, "forger-bad") == 19
    (letter,) = quarantined(service, "forger-bad")
    assert letter["message_id"] == "forger-3"
    ends = [
        end
        for end in service.admin("/debug/exits?pool=forger")["exits"]
        if end["reason"] not in ("drain", "recycle")
    ]
    assert ends[-1]["connection"] == "forger-good", "the first lie is on record"
    assert {end["connection"] for end in ends[:-1]} == {"forger-bad"}
    innocent = service.queue_of("forger-good")
    assert innocent["state"] != "tripped", innocent
    # The lie counts once at most: from there on it runs where nobody can tell one of it.
    assert innocent["blame"]["worker_deaths"] <= 1, innocent
    assert innocent["blame"]["trips"] == 0, innocent
    # Each of its events once more, together with the rest of its batch, and none a third time.
    assert innocent["blame"]["extra_executions"] <= 20, innocent
    assert service.queue_of("forger-bad")["blame"]["worker_deaths"] >= 2


def test_pool_whose_workers_keep_dying_waits_and_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Restarts have a budget: past it the pool waits longer each time, and others run."""
    running = RunningService(
        tmp_path_factory.mktemp("restless"),
        {
            "service": {"plugin_paths": [str(PLUGINS)]},
            "pools.restless": {"destinations": ["restless"], "workers": 1, "spares": 3},
            "pools.default": {"destinations": ["*"], "workers": 1},
            "destinations.restless": {"class": "restless:Restless"},
            "destinations.good": {"class": "torture:Neighbour"},
            "connections.bad": {"source": "test", "destination": "restless"},
            "connections.good": {"source": "test", "destination": "good"},
        },
    )
    try:
        running.start()

        def pool() -> dict[str, Any]:
            (found,) = [p for p in running.admin("/status")["pools"] if p["name"] == "restless"]
            return dict(found)

        wait_until(lambda: pool()["state"] == "failed", PATIENCE_S, "the pool has failed")
        wait_until(
            lambda: (
                re.search(r"exit status 4.*the next start is in", pool()["state_reason"])
                is not None
            ),
            PATIENCE_S,
            "it says why, and when it goes on",
        )
        post(running.url, [track("m1")])
        wait_until(lambda: delivered(running, "good") == 1, PATIENCE_S, "the other pool delivers")
        running.stop()
    finally:
        running.kill()
