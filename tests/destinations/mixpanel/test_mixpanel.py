"""Mixpanel's deliver: an event that becomes several requests, and what its outcome is then."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from destinations.kit import Delivered, Failed, Outcome, Request, Response, Retry
from destinations.kit.contract import current_report
from tests.harness.destinations import answered_by, destination
from tests.harness.vendors import answer, event_of

AT = {"timestamp": "2026-01-02T03:04:05.678Z", "userId": "u", "type": "track"}
SETTINGS = {"token": "T", "increment_events": ["Order Completed"], "append": ["visits"]}
ORDER = {"event": "Order Completed", "properties": {"products": [{"sku": "a"}, {"sku": "b"}]}}
TAKEN = {"code": 200, "status": "OK"}


def body(request: Request) -> list[Any]:  # Any: JSON
    raw = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        raw = gzip.decompress(raw)
    found: list[Any] = json.loads(raw)
    return found


def path(request: Request) -> str:
    return request.url.split("/")[3].split("?")[0]


def answered(**said: Callable[[list[Any]], Response]) -> Callable[[Request], Response]:
    """Each call's own answer, by its items; all that is not named is taken."""

    def answer_to(request: Request) -> Response:
        if path(request) in said:
            return said[path(request)](body(request))
        return answer(200, TAKEN if path(request) == "import" else {"status": 1})

    return answer_to


async def delivered(
    events: list[Mapping[str, Any]], answers: Callable[[Request], Response]
) -> tuple[list[Outcome], list[Request]]:
    reported: list[tuple[int, Outcome]] = []
    token = current_report.set(lambda index, outcome: reported.append((index, outcome)))
    with answered_by(answers) as asked:
        one = destination("mixpanel", SETTINGS)
        outcomes = await one.deliver(
            [event_of(**{**AT, "messageId": f"m-{n}", **event}) for n, event in enumerate(events)]
        )
    current_report.reset(token)
    assert sorted(reported, key=lambda said: said[0]) == list(enumerate(outcomes))
    return list(outcomes), asked


async def test_all_of_an_order() -> None:
    """An order, its products and its count are one event, delivered once all are there."""
    outcomes, asked = await delivered([ORDER, {"event": "Other"}], answered())
    assert outcomes == [Delivered()] * 2
    [imports, counts] = asked
    # Products stand behind all events that were handed over.
    names = ["Order Completed", "Other", "Product Purchased", "Product Purchased"]
    assert [event["event"] for event in body(imports)] == names
    assert [next(key for key in ("$add", "$set") if key in one) for one in body(counts)] == [
        "$add",
        "$set",
    ]


async def test_a_refused_order_is_not_counted() -> None:
    """Where an event is refused, nothing of it is added to the profile."""
    refused = {"code": 400, "failed_records": [{"index": 0, "message": "no"}]}
    outcomes, asked = await delivered(
        [ORDER, ORDER], answered(**{"import": lambda items: answer(400, refused)})
    )
    assert outcomes == [Failed("Mixpanel refused it: no"), Delivered()]
    [counts] = [request for request in asked if path(request) == "engage"]
    assert [one["$add"] for one in body(counts) if "$add" in one] == [{"Order Completed": 1}]


async def test_a_refused_product() -> None:
    """An order of which a product is refused has failed, with the product's reason."""
    refused = {"code": 400, "failed_records": [{"index": 2, "message": "no"}]}
    outcomes, _ = await delivered(
        [ORDER], answered(**{"import": lambda items: answer(400, refused)})
    )
    assert outcomes == [Failed("Mixpanel refused it: no")]


@pytest.mark.parametrize("failing", ["import", "engage"])
async def test_tried_again(failing: str) -> None:
    """An event of which a part needs another try is tried again, and its parts have equal ids."""
    first, asked = await delivered([ORDER], answered(**{failing: lambda items: answer(503)}))
    assert isinstance(first[0], Retry)
    again, asked_again = await delivered([ORDER], answered())
    assert again == [Delivered()]
    assert body(asked[0]) == body(asked_again[0])


async def test_a_retry_wins() -> None:
    """Of a failure and a retry the retry is the outcome: the failure comes back by itself."""

    def engage(items: list[Any]) -> Response:
        if len(items) > 1:
            return answer(413)
        return answer(503) if "$union" in items[0] else answer(400, {"error": "no", "status": 0})

    device = {"type": "ios", "token": "t"}
    event = {"type": "identify", "context": {"device": device}}
    outcomes, _ = await delivered([event], answered(engage=engage))
    assert isinstance(outcomes[0], Retry)


async def test_appended_last() -> None:
    """What would count twice is sent once all else of its event is there."""
    event = {"type": "identify", "traits": {"visits": "v", "plan": "pro"}}
    outcomes, asked = await delivered([event], answered())
    assert outcomes == [Delivered()]
    assert [list(one)[-1] for request in asked for one in body(request)] == ["$set", "$append"]
    outcomes, asked = await delivered([event], answered(engage=lambda items: answer(503)))
    assert isinstance(outcomes[0], Retry)
    assert len(asked) == 1
