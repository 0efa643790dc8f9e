"""Marketo by HTTP: tokens, the two steps of an activity, and each event's own outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.kit import Delivered, Event, Failed, Outcome, Retry, Unsupported
from destinations.kit.contract import current_report
from destinations.kit.loading import settings_errors
from destinations.marketo import Marketo

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
SECRETS = {"client_id": "the-id", "client_secret": "the-secret"}
ACTIVITIES = {"Bought": {"type_id": 7}}


class Vendor:
    """Marketo with people by address, who may be called "bad"; counts tokens, keeps requests."""

    def __init__(self) -> None:
        self.tokens = 0
        self.good_tokens = {"t1", "t2"}
        self.refuse_with = "602"
        self.requests: list[tuple[str, list[Any]]] = []  # Any: JSON
        self.ids: dict[str, int] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/identity/oauth/token":
            self.tokens += 1
            if request.query["client_secret"] != "the-secret":
                return web.json_response({"error": "unauthorized"}, status=401)
            said = {"access_token": f"t{self.tokens}", "expires_in": 3599, "token_type": "bearer"}
            return web.json_response(said)
        token = request.headers["Authorization"].removeprefix("Bearer ")
        if token not in self.good_tokens:
            errors = [{"code": self.refuse_with, "message": "Access token expired"}]
            return web.json_response({"success": False, "errors": errors})
        records = (await request.json())["input"]
        self.requests.append((request.path, records))
        if request.path == "/rest/v1/activities/external.json":
            known = self.ids.values()
            done = [
                {"id": n, "status": "added"}
                if record["leadId"] in known
                else {"status": "skipped", "errors": [{"code": "1004", "message": "not found"}]}
                for n, record in enumerate(records)
            ]
            return web.json_response({"success": True, "result": done})
        if any(record.get("firstName") == "spoils" for record in records):
            errors = [{"code": "1006", "message": "Field 'x' not found"}]
            return web.json_response({"success": False, "errors": errors})
        return web.json_response({"success": True, "result": list(map(self.person, records))})

    def person(self, record: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
        if record.get("email") == "bad@b.de":
            reasons = [{"code": "1007", "message": "Multiple leads match the lookup criteria"}]
            return {"status": "skipped", "reasons": reasons}
        lead_id = self.ids.setdefault(record["email"], len(self.ids) + 1)
        return {"id": lead_id, "status": "updated"}


def event(kind: str, user: str, **traits: str) -> Event:
    fields = {
        "type": kind,
        "event": "Bought",
        "userId": user,
        "traits": traits,
        "timestamp": "2026-01-02T03:04:05Z",
    }
    return Event(json.dumps(fields).encode())


def marketo(url: str, http: aiohttp.ClientSession, **settings: Any) -> Marketo:  # Any: JSON
    given = {"endpoint": f"{url}/rest", **SECRETS, "activities": ACTIVITIES, **settings}
    assert settings_errors(Marketo, given) == []
    return Marketo(msgspec.convert(given, Marketo.Settings), http, logging.Logger("marketo"))


async def test_people_before_their_activities(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Traits are set, people looked up once each, their activities added; all is reported once."""
    vendor = Vendor()
    events = [
        event("track", "a@b.de"),
        event("identify", "a@b.de", firstName="A"),
        event("track", "bad@b.de"),
        event("track", "c@b.de"),
        event("page", "c@b.de"),
        event("track", "a@b.de"),
    ]
    reported: list[tuple[int, Outcome]] = []
    token = current_report.set(lambda index, outcome: reported.append((index, outcome)))
    outcomes = await marketo(await serve(vendor.answer), http).deliver(events)
    current_report.reset(token)
    paths = [path.rpartition("/")[2] for path, _ in vendor.requests]
    assert paths == ["leads.json", "leads.json", "external.json"]
    leads, lookups, activities = (records for _, records in vendor.requests)
    assert leads == [{"firstName": "A", "email": "a@b.de"}]
    assert lookups == [{"email": "a@b.de"}, {"email": "bad@b.de"}, {"email": "c@b.de"}]
    assert [record["leadId"] for record in activities] == [1, 2, 1]
    assert outcomes[:2] == [Delivered()] * 2
    assert outcomes[2] == Failed(
        "Marketo refused it: 1007 Multiple leads match the lookup criteria"
    )
    assert outcomes[3:] == [Delivered(), Unsupported(), Delivered()]
    assert sorted(reported, key=lambda said: said[0]) == list(enumerate(outcomes))


async def test_two_changes_of_a_person(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Two changes of one person go one after the other, so that no duplicate is made."""
    vendor = Vendor()
    events = [event("identify", "a@b.de", firstName=name) for name in ("first", "second")]
    assert await marketo(await serve(vendor.answer), http).deliver(events) == [Delivered()] * 2
    assert [records[0]["firstName"] for _, records in vendor.requests] == ["first", "second"]


async def test_the_spoiler_fails_alone(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A refusal that names no record is found out one by one."""
    vendor = Vendor()
    names = {"a@b.de": "good", "b@b.de": "spoils", "c@b.de": "good"}
    events = [event("identify", email, firstName=name) for email, name in names.items()]
    outcomes = await marketo(await serve(vendor.answer), http).deliver(events)
    spoiler = Failed("Marketo refused it: 1006 Field 'x' not found")
    assert outcomes == [Delivered(), spoiler, Delivered()]


@pytest.mark.parametrize("code", ["601", "602"])
async def test_token_is_renewed(serve: Serve, http: aiohttp.ClientSession, code: str) -> None:
    """A token that has ended is renewed once, the request sent again, and the new one kept."""
    vendor = Vendor()
    vendor.good_tokens, vendor.refuse_with = {"t2"}, code
    sink = marketo(await serve(vendor.answer), http)
    for _ in range(2):
        assert await sink.deliver([event("identify", "a@b.de")]) == [Delivered()]
    assert vendor.tokens == 2
    assert len(vendor.requests) == 2


async def test_no_token_is_good(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Where a fresh token is refused too, the events are tried again later."""
    vendor = Vendor()
    vendor.good_tokens = set()
    sink = marketo(await serve(vendor.answer), http)
    outcomes = await sink.deliver([event("identify", "a@b.de"), event("track", "b@b.de")])
    assert outcomes == [Retry("Marketo refused it: 602 Access token expired")] * 2


async def test_wrong_credentials(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Without a token nothing is sent, and the reason tells why and no secret."""
    vendor = Vendor()
    sink = marketo(await serve(vendor.answer), http, client_secret="other-secret")
    outcomes = await sink.deliver([event("identify", "a@b.de"), event("track", "b@b.de")])
    assert outcomes == [Failed('401 Unauthorized: {"error": "unauthorized"}')] * 2
    assert vendor.requests == []


async def test_nobody_there(http: aiohttp.ClientSession) -> None:
    """Where nobody listens, the reason names the host and no secret, which is in the URL."""
    sink = marketo("http://127.0.0.1:1", http)
    (outcome,) = await sink.deliver([event("identify", "a@b.de")])
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("127.0.0.1:1: no connection")
    assert "secret" not in outcome.reason


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"endpoint": "http://x.mktorest.com"}, "endpoint: must begin with https://"),
        ({"endpoint": "123-ABC-456"}, "endpoint: must begin with https://"),
        ({"client_id": " "}, "client_id: is empty"),
        ({"client_secret": ""}, "client_secret: is empty"),
        ({"lookup_field": ""}, "lookup_field: is empty"),
        ({"activities": {"Bought": {"type_id": "x"}}}, "activities.Bought.type_id: "),
        ({"activities": {"Bought": {}}}, "activities.Bought.type_id: is required"),
        ({"munchkin": "x"}, "munchkin: unknown"),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    given = {"endpoint": "https://123-ABC-456.mktorest.com/rest", **SECRETS, **settings}
    errors = settings_errors(Marketo, given)
    assert len(errors) == 1
    assert errors[0].startswith(error)
