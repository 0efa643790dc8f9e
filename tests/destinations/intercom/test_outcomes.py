"""What Intercom's answers mean, as its documentation has them."""

from __future__ import annotations

from typing import Any

import pytest

from destinations.intercom.outcomes import conflicting_id, found, made, outcome
from destinations.kit import Delivered, Failed, Outcome, Response, Retry
from destinations.kit.contacts import Person
from tests.harness.vendors import answer

PERSON = Person("u", "a@b.de", b"")
DATE = "Fri, 17 Feb 2017 11:55:10 GMT"  # 1487332510


def error(code: str) -> dict[str, Any]:  # Any: JSON
    return {"type": "error.list", "errors": [{"code": code, "message": "why"}]}


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "bad_request", Failed),
        (400, "parameter_invalid", Failed),
        (400, "parameter_not_found", Failed),
        (400, "type_mismatch", Failed),
        (400, "client_error", Failed),
        (401, "token_unauthorized", Failed),
        (401, "token_expired", Failed),
        (401, "missing_authorization", Failed),
        (403, "api_plan_restricted", Failed),
        (403, "action_forbidden", Failed),
        (404, "not_found", Failed),
        (405, "unsupported", Failed),
        (406, "unsupported", Failed),
        (408, "request_timeout", Retry),
        (409, "conflict", Failed),
        (409, "resource_conflict", Failed),
        (422, "unprocessable_entity", Failed),
        (422, "data_invalid", Failed),
        (422, "not_restorable", Failed),
        (429, "rate_limit_exceeded", Retry),
        (400, "retry_after", Retry),
        (403, "too_many_requests", Retry),
        (500, "server_error", Retry),
        (502, "server_error", Retry),
        (503, "service_unavailable", Retry),
        (504, "server_error", Retry),
        (501, "whatever", Failed),
    ],
)  # fmt: skip
def test_documented_errors(status: int, code: str, expected: type[Outcome]) -> None:
    """Each documented status and code has its outcome, with Intercom's own words."""
    said = outcome(answer(status, error(code)))
    assert isinstance(said, expected)
    assert isinstance(said, (Failed, Retry))
    assert said.reason == f"Intercom refused it: {status} {code} why"
    assert made(answer(status, error(code))) == said
    assert found(answer(status, error(code)), PERSON) == said


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[]", b'{"errors":{}}', b'{"errors":[1]}'])
def test_errors_without_words(body: bytes) -> None:
    """Where an error's words cannot be had, the status decides."""
    assert isinstance(outcome(Response(400, {}, body)), Failed)
    assert isinstance(outcome(Response(502, {}, body)), Retry)


def test_data_event_taken() -> None:
    """202 with nothing, or with words that were cut short, is delivered."""
    assert outcome(answer(202)) == Delivered()
    assert outcome(Response(202, {}, b"x", "cut off in the middle")) == Delivered()


@pytest.mark.parametrize(
    "response",
    [
        Response(200, {}, b"<html>"),
        Response(200, {}, b"{"),
        Response(200, {}, b'{"id":"1"}', "cut off in the middle"),
        Response(200, {}, b'{"id":"1"}', "larger than 1048576 bytes"),
        Response(200, {}, b""),
        answer(200, {}),
        answer(200, {"id": 5}),
        answer(200, {"id": ""}),
        answer(200, [1]),
        answer(200, {"data": [{}]}),
        answer(200, {"data": ["x"]}),
        answer(200, {"data": "x"}),
    ],
)
def test_successes_that_are_none(response: Response) -> None:
    """A 200 that holds no contact is tried again, and says what it is."""
    assert isinstance(made(response), Retry)
    assert isinstance(found(response, PERSON), Retry)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"X_RateLimit_Reset": "1487332520", "Date": DATE}, 10.0),
        ({"X_RateLimit_Reset": "1487332500", "Date": DATE}, 0.0),
        ({"X_RateLimit_Reset": "9" * 40, "Date": DATE}, 86400.0),
        ({"X_RateLimit_Reset": "1487332520", "Date": DATE, "Retry_After": "3"}, 3.0),
        ({"X_RateLimit_Reset": "1487332520"}, None),
        ({"X_RateLimit_Reset": "soon", "Date": DATE}, None),
        ({"X_RateLimit_Reset": "1487332520", "Date": "today"}, None),
        ({}, None),
    ],
)
def test_rate_limit(headers: dict[str, str], wait_s: float | None) -> None:
    """A 429 waits until its window ends, by the server's clock, or as long as it asks."""
    said = outcome(answer(429, error("rate_limit_exceeded"), **headers))
    assert said == Retry("Intercom refused it: 429 rate_limit_exceeded why", wait_s)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (409, "A contact matching those details already exists with id=5da6f18e", "5da6f18e"),
        (409, "Multiple existing users match this email address", None),
        (409, None, None),
        (400, "A contact matching those details already exists with id=5da6f18e", None),
    ],
)
def test_conflicting_id(status: int, message: object, expected: str | None) -> None:
    """The id of the other contact is read from a conflict's words."""
    said = {"errors": [{"code": "conflict", "message": message}]}
    assert conflicting_id(answer(status, said)) == expected
