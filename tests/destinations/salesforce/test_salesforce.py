"""Salesforce by HTTP: sessions, records of several objects, and each event's own outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.kit import Delivered, Event, Failed, Outcome, Response, Retry
from destinations.kit.loading import settings_errors
from destinations.salesforce import Salesforce
from destinations.salesforce.mapping import Session
from destinations.salesforce.outcomes import session

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
SETTINGS = {
    "client_id": "the-id",
    "client_secret": "the-secret",
    "refresh_token": "the-refresh-token",
    "person_id_field": "User_Id__c",
    "account_id_field": "Group_Id__c",
    "track": {"object": "Web_Event__c", "id_field": "Message_Id__c", "fields": {"event": "Name"}},
}
RULE = {"type": "identify", "object": "Case", "id_field": "Id__c", "id": "traits.case_id"}
LOGIN = "https://login.salesforce.com"


class Org:
    """An org that wants last names of people; counts sessions and keeps requests."""

    def __init__(self) -> None:
        self.url = ""
        self.sessions = 0
        self.good_sessions = {"s1", "s2"}
        self.requests: list[tuple[str, list[Any]]] = []  # Any: JSON
        self.refuses_with: tuple[int, str] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/services/oauth2/token":
            self.sessions += 1
            form = await request.post()
            if form.get("client_secret") != "the-secret":
                said = {"error": "invalid_client", "error_description": "invalid credentials"}
                return web.json_response(said, status=400)
            return web.json_response(
                {"access_token": f"s{self.sessions}", "instance_url": self.url, "signature": "x"}
            )
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good_sessions:
            return refusal(401, "INVALID_SESSION_ID")
        if self.refuses_with is not None:
            return refusal(*self.refuses_with)
        assert request.method == "PATCH"
        body = await request.json()
        assert body["allOrNone"] is False
        self.requests.append((request.path, body["records"]))
        if any("Unknown__c" in record for record in body["records"]):
            return refusal(400, "INVALID_FIELD")
        return web.json_response(list(map(self.upserted, body["records"])))

    def upserted(self, record: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
        if record["attributes"]["type"] == "Lead" and "LastName" not in record:
            error = {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [LastName]",
                "fields": ["LastName"],
            }
            return {"success": False, "errors": [error], "created": False}
        return {"id": "00Q", "success": True, "errors": [], "created": True}


class Strict(Org):
    """An org that keeps its leads, and wants last name and company of new ones."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: dict[str, dict[str, Any]] = {}  # Any: JSON
        self.is_broken_after = 99

    def upserted(self, record: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
        if len(self.requests) > self.is_broken_after:
            error = {"statusCode": "UNABLE_TO_LOCK_ROW", "message": "why", "fields": []}
            return {"success": False, "errors": [error], "created": False}
        known = self.leads.get(record["User_Id__c"].lower(), {})
        whole = {**known, **record}
        missing = [name for name in ("LastName", "Company") if name not in whole]
        if not known and missing:
            error = {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": f"Required fields are missing: {missing}",
                "fields": missing,
            }
            return {"success": False, "errors": [error], "created": False}
        self.leads[record["User_Id__c"].lower()] = whole
        return {"id": "00Q", "success": True, "errors": [], "created": not known}


def refusal(status: int, code: str) -> web.Response:
    return web.json_response([{"errorCode": code, "message": "why"}], status=status)


def event(**fields: Any) -> Event:  # Any: JSON
    at = {"timestamp": "2026-01-02T03:04:05Z", "messageId": "m-1"}
    return Event(json.dumps({**at, **fields}).encode())


def lead(user: str, last: str = "Lee", **traits: str) -> Event:
    return event(type="identify", userId=user, traits={"lastName": last, **traits})


async def salesforce(
    org: Org,
    serve: Serve,
    http: aiohttp.ClientSession,
    **settings: Any,  # Any: JSON
) -> Salesforce:
    org.url = await serve(org.answer)
    given = {**SETTINGS, "login_url": f"{org.url}/", **settings}
    assert settings_errors(Salesforce, given) == []
    converted = msgspec.convert(given, Salesforce.Settings)
    return Salesforce(converted, http, logging.Logger("salesforce"))


async def test_each_type_to_its_object(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Each type goes to its object in a request of its own, and each record has its outcome."""
    org = Org()
    sink = await salesforce(org, serve, http)
    outcomes = await sink.deliver(
        [
            lead("u1"),
            event(type="identify", userId="u2"),
            event(type="group", groupId="g", traits={"name": "Acme"}),
            event(type="track", event="Bought"),
        ]
    )
    missing = "REQUIRED_FIELD_MISSING Required fields are missing: [LastName] (LastName)"
    refused = Failed(f"Salesforce refused it: {missing}")
    assert outcomes == [Delivered(), refused, Delivered(), Delivered()]
    base = "/services/data/v62.0/composite/sobjects"
    assert {path: len(records) for path, records in org.requests} == {
        f"{base}/Lead/User_Id__c": 2,
        f"{base}/Account/Group_Id__c": 1,
        f"{base}/Web_Event__c/Message_Id__c": 1,
    }
    assert org.sessions == 1


async def test_two_changes_of_a_record(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Two changes of one record never travel together: Salesforce would refuse both."""
    org = Org()
    sink = await salesforce(org, serve, http)
    outcomes = await sink.deliver([lead("u", "First"), lead("other"), lead("U", "Second")])
    assert outcomes == [Delivered()] * 3
    names = [[record["LastName"] for record in records] for _, records in org.requests]
    assert names == [["First", "Lee"], ["Second"]]


def identify(user: str, **traits: str) -> Event:
    return event(type="identify", userId=user, traits=traits)


PLACEHOLDERS = {"LastName": "n/a", "Company": "n/a"}


async def test_placeholders(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A lead that is not there yet is made with placeholders in what it must have."""
    org = Strict()
    sink = await salesforce(org, serve, http, placeholders=PLACEHOLDERS)
    events = [identify("a", email="a@b.de"), identify("b", lastName="Lee", company="Acme")]
    assert await sink.deliver(events) == [Delivered()] * 2
    assert org.leads["a"]["Email"] == "a@b.de"
    assert (org.leads["a"]["LastName"], org.leads["a"]["Company"]) == ("n/a", "n/a")
    assert org.leads["b"]["Company"] == "Acme"
    assert [len(records) for _, records in org.requests] == [2, 1]


async def test_no_value_is_lost_to_a_placeholder(serve: Serve, http: aiohttp.ClientSession) -> None:
    """What a lead has already stays, in one batch or several, whatever the order."""
    org = Strict()
    sink = await salesforce(org, serve, http, placeholders=PLACEHOLDERS)
    full = identify("a", lastName="Lee", company="Acme")
    assert (
        await sink.deliver([identify("a", email="1@b.de"), full, identify("A", phone="1")])
        == [Delivered()] * 3
    )
    assert await sink.deliver([identify("a", email="2@b.de")]) == [Delivered()]
    found = org.leads["a"]
    assert (found["LastName"], found["Company"]) == ("Lee", "Acme")
    assert (found["Email"], found["Phone"]) == ("2@b.de", "1")


async def test_not_enough_placeholders(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Where a field is missing that has no placeholder, the event fails, and costs one call."""
    for placeholders in ({}, {"LastName": "n/a"}):
        org = Strict()
        sink = await salesforce(org, serve, http, placeholders=placeholders)
        [refused] = await sink.deliver([identify("a")])
        assert type(refused) is Failed
        assert "REQUIRED_FIELD_MISSING" in refused.reason
        assert len(org.requests) == 1


async def test_placeholders_later(serve: Serve, http: aiohttp.ClientSession) -> None:
    """What becomes of the second call is the event's outcome."""
    org = Strict()
    org.is_broken_after = 1
    sink = await salesforce(org, serve, http, placeholders=PLACEHOLDERS)
    [outcome] = await sink.deliver([identify("a")])
    assert isinstance(outcome, Retry)
    assert len(org.requests) == 2


async def test_the_spoiler_fails_alone(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A 400 names no record: it is found out one by one."""
    org = Org()
    sink = await salesforce(org, serve, http, person_fields={"odd": "Unknown__c"})
    outcomes = await sink.deliver([lead("a"), lead("b", odd="x"), lead("c")])
    spoiler = Failed("Salesforce refused it: 400 INVALID_FIELD why")
    assert outcomes == [Delivered(), spoiler, Delivered()]


async def test_200_records_a_request(serve: Serve, http: aiohttp.ClientSession) -> None:
    """No request has more than 200 records."""
    org = Org()
    sink = await salesforce(org, serve, http)
    assert await sink.deliver([lead(str(n)) for n in range(201)]) == [Delivered()] * 201
    assert sorted(len(records) for _, records in org.requests) == [1, 200]


async def test_expired_session(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A session that has expired is renewed once, the request sent again, the new one kept."""
    org = Org()
    org.good_sessions = {"s2"}
    sink = await salesforce(org, serve, http)
    for _ in range(2):
        assert await sink.deliver([lead("u")]) == [Delivered()]
    assert org.sessions == 2
    assert len(org.requests) == 2


async def test_no_session_is_good(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Where a fresh session is refused too, the events are tried again later."""
    org = Org()
    org.good_sessions = set()
    sink = await salesforce(org, serve, http)
    assert await sink.deliver([lead("u")]) == [
        Retry("Salesforce refused it: 401 INVALID_SESSION_ID why")
    ]
    assert org.sessions == 2


async def test_limit_of_the_org(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Over the limit of calls, all events of a request wait a minute."""
    org = Org()
    org.refuses_with = (403, "REQUEST_LIMIT_EXCEEDED")
    sink = await salesforce(org, serve, http)
    throttled = Retry("Salesforce refused it: 403 REQUEST_LIMIT_EXCEEDED why", 60.0)
    assert await sink.deliver([lead("a"), lead("b")]) == [throttled] * 2


async def test_wrong_credentials(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Without a session nothing is sent, and the reason tells why and no secret."""
    org = Org()
    sink = await salesforce(org, serve, http, client_secret="other-secret")
    (outcome,) = await sink.deliver([lead("u")])
    assert isinstance(outcome, Failed)
    assert "invalid_client" in outcome.reason
    assert "secret" not in outcome.reason
    assert org.requests == []


def answer(said: Any, status: int = 200) -> Session | Outcome:  # Any: JSON
    return session(Response(status, {}, json.dumps(said).encode()), LOGIN)


@pytest.mark.parametrize(
    "instance",
    [
        "https://acme.my.salesforce.com",
        "https://acme--dev.sandbox.my.salesforce.com/",
        "https://na1.salesforce.com",
        LOGIN,
    ],
)
def test_session_of_an_org(instance: str) -> None:
    """A session goes to the org's host that comes with it."""
    said = answer({"access_token": "00D!A", "instance_url": instance, "issued_at": "1"})
    assert said == Session("00D!A", None, instance.rstrip("/"))


@pytest.mark.parametrize(
    "instance",
    [
        None,
        5,
        "",
        "acme.my.salesforce.com",
        "http://acme.my.salesforce.com",
        "https://salesforce.com.evil.example",
        "https://evilsalesforce.com",
        "https://u@acme.my.salesforce.com",
        "https://acme.my.salesforce.com/path",
        "https://[::1",
    ],
)
def test_session_of_another_host(instance: object) -> None:
    """A session is never sent to a host that is not Salesforce's, nor without TLS."""
    said = answer({"access_token": "secret", "instance_url": instance})
    assert isinstance(said, Failed)
    assert "secret" not in said.reason


@pytest.mark.parametrize("token", [None, 5, "", "secret\r\nX: y", "sécret"])
def test_no_session(token: object) -> None:
    """An answer without a token that a header can hold is tried again, and never quoted."""
    said = answer({"access_token": token, "instance_url": LOGIN})
    assert isinstance(said, Retry)
    assert "cret" not in said.reason
    assert isinstance(answer(["secret"]), Retry)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("invalid_grant", Failed),
        ("invalid_client", Failed),
        ("inactive_org", Failed),
        ("rate_limit_exceeded", Retry),
    ],
)
def test_login_refused(error: str, outcome: type[Outcome]) -> None:
    """What the app or the user must mend is final; too many logins are not."""
    said = answer({"error": error, "error_description": "why"}, 400)
    assert isinstance(said, outcome)
    assert not isinstance(said, Session)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"login_url": "http://login.salesforce.com"}, "login_url: must begin with https://"),
        ({"refresh_token": None}, "login_url: must be your My Domain"),
        ({"refresh_token": None, "client_secret": None}, "client_secret: is required"),
        ({"client_id": ""}, "client_id: is empty"),
        ({"api_version": "v62"}, "api_version: must be from"),
        ({"api_version": "45.0"}, "api_version: must be from"),
        ({"person": "User/x"}, "person: "),
        ({"placeholders": {"LastName": " "}}, "placeholders.LastName: "),
        ({"placeholders": {"Last Name": "n/a"}}, "placeholders.Last Name: "),
        ({"mapping": {"identify": {"Plan c": "traits.plan"}}}, "mapping.identify.Plan c: "),
        ({"mapping": {"A.B.C": "traits.plan"}}, "mapping.A.B.C: "),
        ({"mapping": {"Plan__c": "traits."}}, "mapping.Plan__c: column 7"),
        ({"person_fields": {"": "Plan__c"}}, "person_fields.: is no path"),
        ({"records": [{**RULE, "object": "a/b"}]}, "records.0.object: "),
        ({"records": [{**RULE, "id_field": "Id"}]}, "records.0.id_field: "),
        ({"records": [RULE, {**RULE, "id": "traits."}]}, "records.1.id: column 7"),
        ({"records": [{**RULE, "id": " "}]}, "records.0.id: is empty"),
        ({"records": [{**RULE, "events": ["E"]}]}, "records.0.events: "),
        ({"records": [{**RULE, "fields": {"a b": "'x'"}}]}, "records.0.fields.a b: "),
        ({"records": [{**RULE, "fields": {"A": "x("}}]}, "records.0.fields.A: column"),
        ({"person_id_field": "Email"}, "person_id_field: must be the API name"),
        ({"account_id_field": "a/../b__c"}, "account_id_field: must be the API name"),
        ({"person_fields": {"plan": "Plan c"}}, "person_fields.plan: must be the API name"),
        ({"account_fields": {"plan": ""}}, "account_fields.plan: must be the API name"),
        (
            {"track": {"object": "A/B", "id_field": "X__c", "fields": {}}},
            "track.object: must be an API name",
        ),
        ({"track": {"object": "A__c", "id_field": "X", "fields": {}}}, "track.id_field: must be"),
        (
            {"track": {"object": "A__c", "id_field": "X__c", "fields": {"event": "a b"}}},
            "track.fields.event: must be",
        ),
        ({"sandbox": True}, "sandbox: unknown"),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    errors = settings_errors(Salesforce, {**SETTINGS, **settings})
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_client_credentials_at_a_my_domain() -> None:
    """Without a refresh token the app signs in for itself at its My Domain."""
    given = {
        "client_id": "i",
        "client_secret": "s",
        "person_id_field": "User_Id__c",
        "login_url": "https://acme.my.salesforce.com",
    }
    assert settings_errors(Salesforce, given) == []
