"""Webhooks: what receivers of Segment's webhooks expect, and what settings may be."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.kit import Delivered, Event, Failed, Outcome, Retry
from destinations.kit.loading import settings_errors
from destinations.webhooks import Webhooks

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
RAW = ['{"type":"track",  "n":%d,"ü":"\\u00fc"}'.encode() % n for n in range(3)]


async def deliver(
    http: aiohttp.ClientSession, settings: dict[str, Any], raw: list[bytes]
) -> list[Outcome]:
    assert settings_errors(Webhooks, settings) == []
    webhooks = Webhooks(
        msgspec.convert(settings, Webhooks.Settings), http, logging.Logger("webhooks")
    )
    return list(await webhooks.deliver([Event(body) for body in raw]))


async def test_one_signed_post_an_event(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Each event is posted byte for byte as stored, signed with the secret, with the headers."""
    seen: list[tuple[bytes, web.Request]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((await request.read(), request))
        return web.Response()

    settings = {
        "url": await serve(take) + "/in",
        "shared_secret": "s",
        "headers": {"X-Team": "growth"},
    }
    assert await deliver(http, settings, RAW) == [Delivered()] * 3
    assert sorted(body for body, _ in seen) == sorted(RAW)
    for body, request in seen:
        assert request.method == "POST"
        assert request.path == "/in"
        assert request.headers["X-Signature"] == hmac.new(b"s", body, hashlib.sha1).hexdigest()
        assert request.headers["X-Team"] == "growth"
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"].startswith("Bulkhead")


async def test_batch_is_one_signed_array(serve: Serve, http: aiohttp.ClientSession) -> None:
    """With `batch` the events are one JSON array, and the signature is over all of it."""
    seen: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        seen.append(body)
        assert request.headers["X-Signature"] == hmac.new(b"s", body, hashlib.sha1).hexdigest()
        return web.Response()

    settings = {"url": await serve(take), "shared_secret": "s", "batch": True}
    assert await deliver(http, settings, RAW) == [Delivered()] * 3
    assert [json.loads(body) for body in seen] == [[json.loads(raw) for raw in RAW]]


async def test_batch_with_one_bad_event(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A batch that the receiver refuses is sent singly, and only the refused event fails."""

    async def refuse(request: web.Request) -> web.Response:
        bad = any(event["n"] == 1 for event in await request.json())
        return web.Response(status=422 if bad else 200)

    outcomes = await deliver(http, {"url": await serve(refuse), "batch": True}, RAW)
    assert [type(outcome) for outcome in outcomes] == [Delivered, Failed, Delivered]


async def test_no_secret_no_signature(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Without a secret there is no signature, and a header of one's own replaces ours."""

    async def take(request: web.Request) -> web.Response:
        assert "X-Signature" not in request.headers
        assert request.headers.getall("User-Agent") == ["mine"]
        return web.Response(status=503)

    settings = {"url": await serve(take), "headers": {"user-agent": "mine"}}
    assert isinstance((await deliver(http, settings, RAW[:1]))[0], Retry)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "url: is required"),
        ({"url": "ftp://x/"}, "url: must begin with http"),
        ({"url": "x.example.com"}, "url: must begin with http"),
        ({"url": "http://[::1/"}, "url: is not a valid URL"),
        ({"url": "http://u:p@x/"}, "url: must hold no user name"),
        ({"url": "http://x:70000/"}, "url: "),
        ({"url": "http://x/", "shared_secret": ""}, "shared_secret: is empty"),
        ({"url": "http://x/", "headers": {"A": "b\r\nC: d"}}, "headers.A: its value"),
        ({"url": "http://x/", "headers": {"A b": "c"}}, "headers.'A b': is no name"),
        (
            {"url": "http://x/", "headers": {"Content-Length": "1"}},
            "headers.Content-Length: is set",
        ),
        ({"url": "http://x/", "secret": "s"}, "secret: unknown"),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    errors = settings_errors(Webhooks, settings)
    assert len(errors) == 1
    assert errors[0].startswith(error)
