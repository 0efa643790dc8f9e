"""Intercom by HTTP: one deliver with events of all types, and its settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

from destinations.intercom import Intercom
from destinations.kit import Delivered, Failed, Unsupported
from destinations.kit.loading import settings_errors
from tests.harness.vendors import event_of

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


async def test_by_http(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Events of one user keep their order, and each event has an outcome of its own."""
    seen: list[tuple[str, str, Any]] = []
    known: dict[str, str] = {}

    async def take(request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"null")
        seen.append((request.method, request.path, body))
        match request.method, request.path:
            case "POST", "/contacts/search":
                wanted = body["query"]["value"]
                data = [{"id": known[wanted], "external_id": wanted}] if wanted in known else []
                return web.json_response({"type": "list", "data": data})
            case "POST", "/contacts":
                known[body["external_id"]] = f"c-{body['external_id']}"
                return web.json_response({"id": known[body["external_id"]]})
            case "POST", "/events":
                return web.Response(status=202 if body["user_id"] in known else 404)
            case "POST", "/companies" if body["company_id"] == "bad":
                errors = [{"code": "parameter_invalid", "message": "no"}]
                return web.json_response({"errors": errors}, status=400)
            case _:
                return web.json_response({"id": "1"})

    url = await serve(take)

    class Local(Intercom):
        """Intercom, served here."""

        base_urls: ClassVar[Mapping[str, str]] = {"us": url}

    at = {"timestamp": "2026-01-02T03:04:05Z"}
    events = [
        event_of(**at, **fields)
        for fields in (
            {"type": "identify", "userId": "u", "traits": {"name": "Ann"}},
            {"type": "track", "userId": "u", "event": "E"},
            {"type": "group", "userId": "u", "groupId": "g"},
            {"type": "track", "userId": "v", "event": "E"},
            {"type": "group", "groupId": "bad"},
            {"type": "track", "anonymousId": "a", "event": "E"},
        )
    ]
    intercom = Local(Intercom.Settings(access_token="T"), http, logging.Logger("intercom"))
    assert await intercom.deliver(events) == [
        Delivered(),
        Delivered(),
        Delivered(),
        Delivered(),
        Failed("Intercom refused it: 400 parameter_invalid no"),
        Unsupported(),
    ]
    of_u = [
        (method, path) for method, path, body in seen if "c-u" in path or '"u"' in json.dumps(body)
    ]
    assert of_u == [
        ("POST", "/contacts/search"),
        ("POST", "/contacts"),
        ("POST", "/events"),
        ("POST", "/contacts/c-u/companies"),
    ]
    assert len(seen) == 10


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "access_token: is required"),
        ({"access_token": ""}, "access_token: must be the token alone"),
        ({"access_token": "a b"}, "access_token: must be the token alone"),
        ({"access_token": "T", "region": "uk"}, "region: "),
        ({"access_token": "T", "contact_attributes": {"plan": " "}}, "contact_attributes.plan: is"),
        ({"access_token": "T", "company_attributes": {"plan": ""}}, "company_attributes.plan: is"),
        ({"access_token": "T", "create_contacts": "yes"}, "create_contacts: "),
        ({"access_token": "T", "app_id": "x"}, "app_id: unknown"),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    errors = settings_errors(Intercom, settings)
    assert len(errors) == 1
    assert errors[0].startswith(error)


@pytest.mark.parametrize(
    ("region", "host"),
    [("us", "api.intercom.io"), ("eu", "api.eu.intercom.io"), ("au", "api.au.intercom.io")],
)
def test_regions(region: str, host: str) -> None:
    """Each region has its host, and all of them may be reached."""
    assert Intercom.base_urls[region] == f"https://{host}"
    assert host in Intercom.hosts
