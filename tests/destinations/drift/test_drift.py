"""Drift by HTTP: tokens, one deliver with events of all types, and its settings."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web

from destinations.drift import Drift
from destinations.kit import Delivered, Failed, Unsupported
from destinations.kit.loading import settings_errors
from tests.harness.vendors import event_of

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
APP = {"client_id": "i", "client_secret": "s", "refresh_token": "r"}
EVENTS = [
    event_of(timestamp="2026-01-02T03:04:05Z", **fields)
    for fields in (
        {"type": "identify", "userId": "u", "traits": {"email": "a@b.de"}},
        {"type": "track", "userId": "u", "event": "E"},
        {"type": "identify", "userId": "v"},
        {"type": "track", "anonymousId": "a", "event": "E"},
    )
]


class Vendor:
    """Drift's API, as far as these events need it. Access tokens end after `uses` requests."""

    def __init__(self, uses: int | None = None) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.refreshed: list[str] = []
        self._uses = uses
        self._left = uses or 0
        self._is_known = False

    async def take(self, request: web.Request) -> web.Response:
        if request.path == "/oauth2/token":
            form = parse_qs((await request.read()).decode())
            self.refreshed.append(form["refresh_token"][0])
            self._left = self._uses or 0
            count = len(self.refreshed)
            return web.json_response(
                {"access_token": f"A{count}", "refresh_token": f"R{count}", "expires_in": 7200}
            )
        signed_by = request.headers["Authorization"]
        self.seen.append((request.method, request.path, signed_by))
        if self._uses is not None:
            if not self._left:
                return web.json_response({"error": {"type": "authentication_error"}}, status=403)
            self._left -= 1
        if request.method == "GET" and not (self._is_known and request.query.get("id") == "u"):
            return web.json_response({"error": {"type": "not_found"}}, status=404)
        self._is_known = True
        return web.json_response({"data": {"id": 1, "attributes": {"externalId": "u"}}})


async def local(
    vendor: Vendor, serve: Serve, http: aiohttp.ClientSession, **settings: Any
) -> Drift:  # Any: settings of any type
    url = await serve(vendor.take)

    class Local(Drift):
        """Drift, served here."""

        base_url: ClassVar[str] = url

    return Local(Drift.Settings(**settings), http, logging.Logger("drift"))


OUTCOMES = [
    Delivered(),
    Delivered(),
    Failed("the event has no e-mail address: Drift needs one for a new contact"),
    Unsupported(),
]


async def test_by_http(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Events of one user keep their order, and each event has an outcome of its own."""
    vendor = Vendor()
    drift = await local(vendor, serve, http, access_token="T")
    assert await drift.deliver(EVENTS) == OUTCOMES
    assert {signed_by for _, _, signed_by in vendor.seen} == {"Bearer T"}
    posts = [path for method, path, _ in vendor.seen if method == "POST"]
    assert posts == ["/contacts", "/contacts/timeline"]


async def test_tokens_of_an_app(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A token is fetched once for all, renewed where it is refused, by the latest refresh token."""
    vendor = Vendor(uses=3)
    drift = await local(vendor, serve, http, **APP)
    assert await drift.deliver(EVENTS) == OUTCOMES
    assert vendor.refreshed == ["r", "R1"]
    assert {signed_by for _, _, signed_by in vendor.seen} == {"Bearer A1", "Bearer A2"}


async def test_a_token_that_is_refused_again(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A token that is refused when it is new is the operator's to mend."""
    drift = await local(Vendor(uses=0), serve, http, **APP)
    (outcome,) = await drift.deliver(EVENTS[:1])
    assert isinstance(outcome, Failed)
    assert "authentication_error" in outcome.reason


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "access_token: is required, or client_id"),
        ({"access_token": ""}, "access_token: must be the token alone"),
        ({"access_token": "a b"}, "access_token: must be the token alone"),
        ({"access_token": "T", "client_id": "i"}, "client_id: must not be there beside"),
        ({**APP, "refresh_token": " "}, "refresh_token: is required where"),
        ({"client_id": "i", "client_secret": "s"}, "refresh_token: is required where"),
        ({**APP, "attributes": 1}, "attributes: "),
        ({**APP, "org_id": 1}, "org_id: unknown"),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    errors = settings_errors(Drift, settings)
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_settings_of_an_app() -> None:
    """An app's three are enough."""
    assert settings_errors(Drift, APP) == []
