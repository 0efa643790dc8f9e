"""What Mixpanel's answers mean, as its documentation has them, and the whole way by HTTP."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

from destinations.kit import Delivered, Event, Failed, Response, Retry, Split
from destinations.mixpanel import Mixpanel
from destinations.mixpanel.outcomes import imported, updated

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


def response(status: int, said: Any) -> Response:  # Any: JSON
    return Response(status, {}, json.dumps(said).encode())


def test_failed_records_fail_alone() -> None:
    """A 400 that names events fails those, and the rest was taken."""
    said = {
        "code": 400,
        "error": "some data points in the request failed validation",
        "num_records_imported": 2,
        "failed_records": [{"index": 1, "field": "properties.time", "message": "bad time"}],
    }
    failed = Failed("Mixpanel refused it: bad time")
    assert imported(response(400, said), 3) == [Delivered(), failed, Delivered()]


def test_all_taken() -> None:
    """A 200 with its code takes all."""
    said = {"code": 200, "num_records_imported": 2, "status": "OK"}
    assert imported(response(200, said), 2) == [Delivered()] * 2


@pytest.mark.parametrize(
    "said",
    [
        {"error": "bad json"},
        {"failed_records": [{"index": 9}]},
        {"failed_records": "all"},
        {"failed_records": [{"index": True}]},
        "text",
    ],
)
def test_a_400_that_names_nobody_is_split(said: Any) -> None:
    """A refusal that names no event of the request is found out one by one."""
    assert isinstance(imported(response(400, said), 2), Split)


def test_too_large_is_split() -> None:
    """A 413 is found out one by one."""
    assert isinstance(imported(response(413, {"error": "too large"}), 2), Split)


def test_other_statuses() -> None:
    """401 has failed; 429 and 5xx are tried again."""
    assert isinstance(imported(response(401, {"error": "no such project"}), 2), Failed)
    assert isinstance(imported(response(429, {}), 2), Retry)
    assert isinstance(imported(response(502, {}), 2), Retry)


def test_a_page_for_an_answer_is_a_retry() -> None:
    """A 200 that is not Mixpanel's is no delivery."""
    assert isinstance(imported(Response(200, {}, b"<html>"), 2), Retry)
    assert isinstance(updated(Response(200, {}, b"<html>")), Retry)


@pytest.mark.parametrize("said", [1, {"status": 1, "error": None}, {"status": "OK", "error": None}])
def test_update_taken(said: Any) -> None:
    """An update's 200 with status 1 is delivered."""
    assert updated(response(200, said)) == Delivered()


@pytest.mark.parametrize("said", [0, {"status": 0, "error": "bad $distinct_id"}])
def test_update_refused_with_200(said: Any) -> None:
    """An update's 200 with status 0 is a refusal."""
    assert isinstance(updated(response(200, said)), Split)


async def test_by_http(serve: Serve, http: aiohttp.ClientSession) -> None:
    """Each type goes to its endpoint, and each event of one deliver has its own outcome."""
    seen: dict[str, list[Any]] = {}

    async def take(request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp's server has undone the gzip
        items = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        seen.setdefault(request.path, []).extend(items)
        if request.path != "/import":
            return web.json_response({"status": 1, "error": None})
        bad = [n for n, item in enumerate(items) if item["event"] == "Bad"]
        failed = [{"index": n, "message": "no"} for n in bad]
        code = 400 if bad else 200
        return web.json_response({"code": code, "failed_records": failed}, status=code)

    url = await serve(take)

    class Local(Mixpanel):
        """Mixpanel, served here."""

        base_urls: ClassVar[Mapping[str, str]] = {"us": url}

    at = {"timestamp": "2026-01-02T03:04:05Z", "userId": "u", "groupId": "g", "previousId": "p"}
    events = [
        Event(json.dumps({**at, **fields}).encode())
        for fields in (
            {"type": "track", "event": "Good"},
            {"type": "identify"},
            {"type": "track", "event": "Bad"},
            {"type": "group"},
            {"type": "alias"},
            {"type": "page"},
        )
    ]
    mixpanel = Local(Mixpanel.Settings(token="T"), http, logging.Logger("mixpanel"))
    outcomes = await mixpanel.deliver(events)
    refused = Failed("Mixpanel refused it: no")
    assert outcomes == [Delivered(), Delivered(), refused, *[Delivered()] * 3]
    assert {path: len(items) for path, items in seen.items()} == {
        "/import": 3,
        "/engage": 1,
        "/groups": 1,
        "/track": 1,
    }
