"""How an event came where it is, over HTTP: its attempts by both roles, as payloads allow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from sandbox.protocol import GotAnswer, Sampled, SentRequest
from supervisor.admin.events import MOST_OF_DELIVERY
from supervisor.insight.sample_file import A_CAUSE
from supervisor.insight.sample_records import MetBy
from supervisor.queue import Delivery, DeliveryRecord, EventRecord, Outcome
from tests.admin.stubs import AT, StubControl
from tests.console.conftest import ACCESS, OPERATOR, VIEWER, Client
from tests.console.data_world import DataWorld

#: Values of the event that are masked, and a word of a partner.
OWN, NAME, WORD = "ann@shop.example", "Quintilia", "zqword"
EVENT = json.dumps(
    {
        "type": "track",
        "event": "Bought",
        "messageId": "m1",
        "userId": "u1",
        "email": OWN,
        "firstName": NAME,
    }
).encode()
#: A message id as a path.
PATH = "/events/m1"


def record(body: bytes | None = EVENT, state: str = "pending") -> EventRecord:
    """The event, with a delivery that was tried twice."""
    outcome = None if state == "pending" else Outcome.DELIVERED
    one = DeliveryRecord("r1", "hook", state, outcome, 2, "503", None, False, None)
    return EventRecord("m1", "website", AT, [one], body)


@pytest.fixture(params=["masked"])
def payloads(request: pytest.FixtureRequest) -> str:
    """As in `[console]`."""
    return str(request.param)


@pytest.fixture
def world(tmp_path: Path, payloads: str) -> DataWorld:
    """With an event of which two attempts went wrong."""
    return DataWorld(tmp_path, payloads)


@pytest.fixture
async def client(world: DataWorld, control: StubControl) -> AsyncIterator[Client]:
    """A client of the rows."""
    control.stub_queue.records = [record()]
    async with TestClient(TestServer(world.app(control, ACCESS))) as client:
        yield client


async def get(client: Client, token: str = OPERATOR, path: str = PATH) -> Any:
    """The answer about the event. Any: JSON."""
    answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200
    return await answer.json()


def fail(world: DataWorld, attempt: int, reason: str, *, status: int | None = None) -> None:
    """An attempt of it goes wrong; with a status, its worker tells what was sent and answered."""
    sampled = None
    if status is not None:
        body = json.dumps({"error": f"{WORD} {OWN}"}).encode()
        request = SentRequest("POST", "https://p.example/in", {"X-A": "b"}, EVENT, len(EVENT), "")
        sampled = Sampled(1, 0, request, GotAnswer(status, {}, body, len(body), ""))
    delivery = Delivery(EVENT, attempt, AT, b"u")
    met = MetBy(delivery.body, attempt, "default-1", sampled)
    world.insight.troubled("hook", "retry", reason, 1, met, [delivery])


async def test_an_operator_sees_each_attempt_with_what_was_sent_and_answered(
    client: Client, world: DataWorld
) -> None:
    """In their order, masked, and the event itself; both below /console/api and by itself."""
    fail(world, 1, f"503 Service Unavailable: {WORD} {OWN}", status=503)
    fail(world, 2, "500 Internal Server Error", status=500)
    told = await get(client)
    first, second = told["deliveries"][0]["history"]
    assert (first["attempt"], first["worker"], first["outcome"]) == (1, "default-1", "retry")
    assert first["reason"] == f"503 Service Unavailable: {WORD} <masked>"
    assert (first["code"], first["answer"]["status"]) == ("503", 503)
    assert first["request"]["method"] == "POST"
    assert (second["attempt"], second["code"]) == (2, "500")
    assert [one["n"] for one in (first, second)] == [0, 1]
    assert json.loads(told["body"])["event"] == "Bought"
    assert OWN not in json.dumps(told)
    assert (told["attempts_not_kept"], told["attempts_forgotten"]) == (None, 0)
    assert told["attempts_since"]
    issue = await get(client, path=f"/issues/{first['issue']}")
    assert issue["cause"] == first["cause"]
    assert await get(client, path=f"/console/api{PATH}") == told


async def test_a_viewer_sees_causes_and_no_word_of_anybody(
    client: Client, world: DataWorld
) -> None:
    """No reason, no request, no answer; of the event its shape."""
    fail(world, 1, f"503 Service Unavailable: {WORD} {OWN}", status=503)
    fail(world, 2, f"{WORD} is not there")
    told = await get(client, VIEWER)
    first, second = told["deliveries"][0]["history"]
    assert first["cause"].startswith("503 Service Unavailable")
    for one in (first, second):
        assert (one["reason"], one["request"], one["answer"]) == (None, None, None)
        assert (one["attempt"], one["worker"]) in ((1, "default-1"), (2, "default-1"))
    text = json.dumps(told)
    for words in (WORD, OWN, NAME, "Bought"):
        assert words not in text
    assert told["body"] is not None


@pytest.mark.parametrize("payloads", ["none"], indirect=True)
async def test_where_no_payloads_are_shown_there_are_times_workers_and_causes(
    client: Client, world: DataWorld
) -> None:
    """To an operator, too."""
    fail(world, 1, "503 Service Unavailable", status=503)
    told = await get(client)
    (one,) = told["deliveries"][0]["history"]
    assert (one["cause"], one["worker"]) == ("503 Service Unavailable", "default-1")
    assert one["at"] is not None
    for name in ("reason", "body", "request", "answer", "code"):
        assert one[name] is None, name
    assert told["body"] is None


@pytest.mark.parametrize("payloads", ["full"], indirect=True)
async def test_in_full_a_reason_is_as_it_was_told(client: Client, world: DataWorld) -> None:
    """And the event as it came."""
    fail(world, 1, f"503: {WORD} {OWN}")
    told = await get(client)
    assert told["deliveries"][0]["history"][0]["reason"] == f"503: {WORD} {OWN}"
    assert told["body"] == EVENT.decode()


async def test_where_the_event_is_gone_its_own_values_cannot_be_told_and_causes_are_shown(
    client: Client, world: DataWorld, control: StubControl
) -> None:
    """What was kept masked with a sample is there all the same."""
    for attempt in range(1, A_CAUSE + 2):
        fail(world, attempt, f"503 Service Unavailable: {WORD} {NAME}", status=503)
    control.stub_queue.records = [record(None, "finished")]
    told = await get(client)
    *sampled, last = told["deliveries"][0]["history"]
    masked = f"503 Service Unavailable: {WORD} <masked>"
    assert [one["reason"] for one in sampled] == [masked] * A_CAUSE
    assert last["reason"] is None
    assert last["cause"].startswith("503 Service Unavailable")
    assert told["body"] is None


async def test_a_trial_is_told_between_attempts(client: Client, world: DataWorld) -> None:
    """Without an issue; to a viewer in our own words, whole."""
    delivery = [Delivery(EVENT, 1, AT, b"u")]
    told = [
        ("suspected", "its worker died, and it may be of this event: signal (SIGSEGV)"),
        ("tried", "sent again alone, with nothing else in its worker"),
        ("innocent", "it got its outcome with nothing else in its worker"),
        ("released", "its worker ended, not by its fault: signal (SIGKILL)"),
        ("released", "it is sent again like any other"),
        ("suspected", "its worker died again: timeout (no answer)"),
    ]
    for outcome, reason in told:
        world.insight.tried("hook", outcome, reason, "default-2", delivery)  # type: ignore[arg-type]  # literals
    history = (await get(client))["deliveries"][0]["history"]
    assert [(one["outcome"], one["reason"]) for one in history] == told
    assert {one["issue"] for one in history} == {None}
    history = (await get(client, VIEWER))["deliveries"][0]["history"]
    assert [one["cause"] for one in history] == [reason for _, reason in told]


async def test_the_newest_attempts_are_shown_and_off_is_told(
    client: Client, world: DataWorld, control: StubControl
) -> None:
    """So many of a delivery; where the console is off there are none, and why."""
    for attempt in range(1, MOST_OF_DELIVERY + 4):
        fail(world, attempt, "503")
    history = (await get(client))["deliveries"][0]["history"]
    assert [one["attempt"] for one in history] == list(range(4, MOST_OF_DELIVERY + 4))
    control.insight = None
    told = await get(client)
    assert told["deliveries"][0]["history"] == []
    assert "console.enabled" in told["attempts_not_kept"]
    assert told["attempts_since"] is None


async def test_an_event_of_ten_thousand_deliveries_is_answered_within_bounds(
    client: Client, world: DataWorld, control: StubControl
) -> None:
    """So many attempts in all, whatever each had."""
    names = [f"c{n}" for n in range(1_000)]
    one = record().deliveries[0]
    deliveries = [msgspec.structs.replace(one, connection=name) for name in names]
    control.stub_queue.records = [EventRecord("m1", "website", AT, deliveries, EVENT)]
    delivery = Delivery(EVENT, 1, AT, b"u")
    met = MetBy(EVENT, 1, "default-1", None)
    for name in names:
        world.insight.troubled(name, "retry", "503", 1, met, [delivery])
    told = await get(client)
    assert sum(len(one["history"]) for one in told["deliveries"]) == 500
