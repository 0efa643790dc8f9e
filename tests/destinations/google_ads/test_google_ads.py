"""Google Ads by HTTP: tokens, partial failures, equal orders, pings, and secrets nobody sees."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from destinations.google_ads import GoogleAds
from destinations.kit import Delivered, Event, Failed, Retry, Unsupported
from destinations.kit.loading import declaration, load, settings_errors

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
# Any: JSON
UPLOAD: dict[str, Any] = {
    "customer_id": "123-456-7890",
    "login_customer_id": "987-654-3210",
    "developer_token": "the-developer-token",
    "client_id": "the-id",
    "client_secret": "the-secret",
    "refresh_token": "the-refresh-token",
    "conversions": {"Bought": "111"},
}
PING: dict[str, Any] = {"conversion_id": "AW-42", "conversions": {"Bought": "a_B"}}


class Vendor:
    """Google with good tokens, orders that it remembers, and no use for `gclid` "bad"."""

    def __init__(self) -> None:
        self.tokens = 0
        self.good_tokens = {"t1", "t2"}
        self.orders: set[str] = set()
        self.uploads: list[int] = []
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            self.tokens += 1
            form = await request.post()
            if form["refresh_token"] != "the-refresh-token":
                return web.json_response({"error": "invalid_grant"}, status=400)
            said = {"access_token": f"t{self.tokens}", "expires_in": 3599, "token_type": "Bearer"}
            return web.json_response(said)
        assert request.path == "/v26/customers/1234567890:uploadClickConversions"
        self.headers = dict(request.headers)
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.good_tokens:
            said = {"code": 401, "status": "UNAUTHENTICATED", "message": "expired"}
            return web.json_response({"error": said}, status=401)
        body = await request.json()
        assert body["partialFailure"] is True
        return web.json_response(self.upload(body["conversions"]))

    def upload(self, conversions: list[Any]) -> dict[str, Any]:  # Any: JSON
        self.uploads.append(len(conversions))
        errors: list[Any] = []
        results: list[Any] = []
        orders = [conversion.get("orderId") for conversion in conversions]
        for index, conversion in enumerate(conversions):
            code = ""
            order = conversion.get("orderId")
            if conversion["gclid"] == "bad":
                code = "UNPARSEABLE_GCLID"
            elif order and orders.count(order) > 1:
                code = "DUPLICATE_ORDER_ID"
            elif order in self.orders:
                code = "ORDER_ID_ALREADY_IN_USE"
            if code:
                path = {"fieldPathElements": [{"fieldName": "conversions", "index": index}]}
                error = {"errorCode": {"conversionUploadError": code}, "message": "why"}
                errors.append({**error, "location": path})
                results.append({})
                continue
            if order:
                self.orders.add(order)
            results.append({"gclid": conversion["gclid"]})
        said: dict[str, Any] = {"results": results, "jobId": "1"}
        if errors:
            said["partialFailureError"] = {"code": 3, "details": [{"errors": errors}]}
        return said


def ads(url: str, http: aiohttp.ClientSession, **settings: Any) -> GoogleAds:  # Any: JSON
    class Local(GoogleAds):
        api_url = token_url = ping_url = url

    assert settings_errors(Local, settings) == []
    return Local(msgspec.convert(settings, Local.Settings), http, logging.Logger("ads"))


def event(gclid: str = "x", second: int = 0, **properties: Any) -> Event:  # Any: JSON
    fields = {
        "type": "track",
        "event": "Bought",
        "timestamp": f"2026-01-02T03:04:{second:02}Z",
        "properties": {"gclid": gclid, **properties},
    }
    return Event(json.dumps(fields).encode())


async def test_partial_failure(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Conversions share an upload, and each has its own outcome; others are unsupported."""
    vendor = Vendor()
    events = [event("a"), event("bad"), Event(b'{"type":"track","event":"Other"}'), event("c")]
    outcomes = await ads(await serve(vendor.answer), http, upload=UPLOAD).deliver(events)
    assert outcomes == [
        Delivered(),
        Failed("Google Ads refused it: UNPARSEABLE_GCLID why"),
        Unsupported(),
        Delivered(),
    ]
    assert vendor.uploads == [3]
    assert vendor.headers["developer-token"] == "the-developer-token"
    assert vendor.headers["login-customer-id"] == "9876543210"


async def test_equal_orders(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Equal orders go one after the other: the first counts, and Google knows the second."""
    vendor = Vendor()
    events = [event(order_id="o", second=second) for second in range(2)] + [event("y")]
    outcomes = await ads(await serve(vendor.answer), http, upload=UPLOAD).deliver(events)
    assert outcomes == [Delivered()] * 3
    assert vendor.uploads == [2, 1]


async def test_one_token_for_all(serve: Serve, http: aiohttp.ClientSession) -> None:
    """A token is fetched once, and once more where it is refused."""
    vendor = Vendor()
    made = ads(await serve(vendor.answer), http, upload=UPLOAD)
    assert await made.deliver([event(second=1)]) == [Delivered()]
    assert await made.deliver([event(second=2)]) == [Delivered()]
    assert vendor.tokens == 1
    vendor.good_tokens = {"t2"}
    assert await made.deliver([event(second=3)]) == [Delivered()]
    assert vendor.tokens == 2
    vendor.good_tokens = set()
    [refused] = await made.deliver([event(second=4)])
    assert isinstance(refused, Failed)
    assert vendor.tokens == 3


async def test_revoked(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Where there is no token, nothing is uploaded, and no reason tells a secret."""
    vendor = Vendor()
    url = await serve(vendor.answer)
    revoked = {**UPLOAD, "refresh_token": "the-old-token"}
    [refused] = await ads(url, http, upload=revoked).deliver([event()])
    [lost] = await ads("http://127.0.0.1:1", http, upload=revoked).deliver([event()])
    assert isinstance(refused, Failed)
    assert "invalid_grant" in refused.reason
    assert isinstance(lost, Retry)
    assert vendor.uploads == []
    assert "the-" not in f"{refused} {lost}"


async def test_pings(serve: Serve, http: aiohttp.ClientSession) -> None:
    """By the other setting, each conversion is one GET, without a token."""
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path_qs))
        assert "Authorization" not in request.headers
        return web.Response(body=b"GIF89a", content_type="image/gif")

    events = [event(value=n, currency="EUR") for n in (1, 2)]
    assert await ads(await serve(answer), http, ping=PING).deliver(events) == [Delivered()] * 2
    path = "/pagead/conversion/42/?label=a_B&value={}&currency_code=EUR&guid=ON&script=0"
    assert sorted(seen) == [("GET", path.format(n)) for n in (1, 2)]


@pytest.mark.parametrize(
    ("settings", "errors"),
    [
        ({}, ["upload: is required, or ping, and not both"]),
        ({"upload": UPLOAD, "ping": PING}, ["upload: is required, or ping, and not both"]),
        (
            {"upload": {**UPLOAD, "customer_id": "12", "login_customer_id": "x"}},
            [
                'upload.customer_id: must be ten digits, like "123-456-7890"',
                'upload.login_customer_id: must be ten digits, like "123-456-7890"',
            ],
        ),
        (
            {"upload": {**UPLOAD, "client_id": " ", "refresh_token": ""}},
            ["upload.client_id: is empty", "upload.refresh_token: is empty"],
        ),
        (
            {"upload": {**UPLOAD, "api_version": "26", "conversions": {"Bought": "a_B"}}},
            [
                'upload.api_version: must be like "v26"',
                "upload.conversions.Bought: must be the id of a conversion action, which is digits",
            ],
        ),
        (
            {"upload": {**UPLOAD, "default_country_code": "DE", "merchant_id": 0}},
            [
                'upload.default_country_code: must be a calling code, like "+49"',
                "upload.merchant_id: must be the number of a Merchant Center account",
            ],
        ),
        (
            {
                "upload": {
                    **UPLOAD,
                    "call_conversions": {"Bought": "5", "Called": "x"},
                    "adjustments": {"Bought": {"action": "y", "type": "RETRACTION"}},
                }
            },
            [
                "upload.call_conversions.Bought: stands in upload.conversions as well",
                "upload.call_conversions.Called: must be the id of a conversion action, "
                "which is digits",
                "upload.adjustments.Bought: must be the id of a conversion action, which is digits",
                "upload.adjustments.Bought: stands in upload.conversions as well",
            ],
        ),
        (
            {"upload": UPLOAD, "mapping": {"orderId": "properties."}},
            ["mapping.orderId: column 11: a path or text is wanted, and there is '.'"],
        ),
        (
            {"ping": {"conversion_id": "AW-42/a_B", "conversions": {"Bought": "a b"}}},
            [
                'ping.conversion_id: must be digits, like "AW-123456789" without the label',
                "ping.conversions.Bought: must be the label of a conversion action",
            ],
        ),
    ],
)
def test_settings(settings: dict[str, Any], errors: list[str]) -> None:  # Any: JSON
    """Settings that cannot work are told with their key, all in one run."""
    assert settings_errors(GoogleAds, settings) == errors


@pytest.mark.parametrize(
    "settings",
    [{"ping": {"conversion_id": "4"}}, {"upload": {**UPLOAD, "customer_id": 5}}, {"upload": 5}],
)
def test_settings_of_the_wrong_type(settings: dict[str, Any]) -> None:  # Any: JSON
    """What is missing or of the wrong type is told too."""
    [error] = settings_errors(GoogleAds, settings)
    assert error.startswith(next(iter(settings)))


def test_declaration() -> None:
    """It is found by its name, and declares its type and Google's three hosts."""
    declared = declaration(load("google-ads", None))
    assert declared.types == {"track"}
    assert declared.hosts == (
        "googleads.googleapis.com",
        "oauth2.googleapis.com",
        "www.googleadservices.com",
    )
