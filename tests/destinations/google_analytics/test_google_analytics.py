"""Google Analytics by HTTP: grouping, limits, settings, and a secret that nobody sees."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.google_analytics import GoogleAnalytics
from destinations.kit import Delivered, Event, Failed, Retry, Unsupported
from destinations.kit.loading import declaration, load, settings_errors

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
SETTINGS = {"measurement_id": "G-1", "api_secret": "the-secret"}


def analytics(
    url: str, http: aiohttp.ClientSession, **settings: Any
) -> GoogleAnalytics:  # Any: JSON
    class Local(GoogleAnalytics):
        base_urls = {"global": url, "eu": f"{url}/eu"}  # noqa: RUF012 - one test's own

    given = {**SETTINGS, **settings}
    assert settings_errors(Local, given) == []
    return Local(msgspec.convert(given, Local.Settings), http, logging.Logger("ga"))


def event(user: str, **fields: Any) -> Event:  # Any: JSON
    return Event(
        json.dumps({"type": "track", "event": "Hit", "anonymousId": user, **fields}).encode()
    )


async def test_grouped_by_user(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Events of one user share requests of at most 25, those of others never."""
    seen: list[tuple[str, int]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.path == "/mp/collect"
        assert request.query["api_secret"] == "the-secret"
        body = await request.json()
        seen.append((body["client_id"], len(body["events"])))
        return web.Response(status=204)

    events = [event("a") for _ in range(30)] + [event("b"), event("a", type="alias")]
    outcomes = await analytics(await serve(answer), http).deliver(events)
    assert outcomes == [Delivered()] * 31 + [Unsupported()]
    assert sorted(seen) == [("a", 5), ("a", 25), ("b", 1)]


async def test_bytes_of_a_request(serve: Serve, http: aiohttp.ClientSession) -> None:
    """No body reaches 130 kB, the part that its events share included."""
    sizes: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        sizes.append(len(await request.read()))
        return web.Response(status=204)

    products = [{"name": f"{n:0100}", "brand": "x" * 100} for n in range(60)]
    bulky = [event("a", event="Cart Viewed", properties={"products": products}) for _ in range(25)]
    user_agent = {"userAgent": "x" * 30_000}
    bulky += [event("b", event="Cart Viewed", properties={"products": products * 4}) for _ in "12"]
    bulky.append(event("c", context=user_agent))
    outcomes = await analytics(await serve(answer), http).deliver(bulky)
    assert outcomes == [Delivered()] * 28
    assert len(sizes) > 4
    assert max(sizes) < 130_000


async def test_secret_stays(serve: Serve, http: aiohttp.ClientSession) -> None:
    """No outcome tells the secret, whatever goes wrong."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text=f"The requested URL {request.path_qs} was not found")

    [refused] = await analytics(await serve(answer), http).deliver([event("a")])
    [lost] = await analytics("http://127.0.0.1:1", http).deliver([event("a")])
    assert isinstance(refused, Failed)
    assert isinstance(lost, Retry)
    assert "the-secret" not in f"{refused} {lost}"


async def test_region_and_consent(serve: Serve, http: aiohttp.ClientSession) -> None:
    """The EU's events go to the EU's host, with the consent that the settings give."""
    seen: list[tuple[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, (await request.json())["consent"]))
        return web.Response(status=204)

    made = analytics(
        await serve(answer), http, region="eu", ad_user_data="DENIED", ad_personalization="GRANTED"
    )
    assert await made.deliver([event("a")]) == [Delivered()]
    consent = {"ad_user_data": "DENIED", "ad_personalization": "GRANTED"}
    assert seen == [("/eu/mp/collect", consent)]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"measurement_id": "G-1"}, "api_secret: is required"),
        ({**SETTINGS, "api_secret": " "}, "api_secret: is empty"),
        ({"api_secret": "s"}, "measurement_id: is required for a web stream"),
        ({**SETTINGS, "firebase_app_id": "1:2"}, "measurement_id: is required for a web stream"),
        ({**SETTINGS, "measurement_id": "1234567"}, "measurement_id: must be like"),
        ({"api_secret": "s", "firebase_app_id": ""}, "firebase_app_id: is empty"),
        ({**SETTINGS, "region": "mars"}, "region: "),
        ({**SETTINGS, "ad_user_data": "granted"}, "ad_user_data: "),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:  # Any: JSON
    """Settings that cannot work are told with their key."""
    errors = settings_errors(GoogleAnalytics, settings)
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_declaration() -> None:
    """It is found by its name, and declares its types and Google's two hosts."""
    declared = declaration(load("google-analytics", None))
    assert declared.types == {"identify", "track", "page", "screen", "group"}
    assert declared.hosts == ("www.google-analytics.com", "region1.google-analytics.com")
