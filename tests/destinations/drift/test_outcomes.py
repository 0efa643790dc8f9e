"""What Drift's answers mean, as its documentation has them."""

from __future__ import annotations

from typing import Any

import pytest

from destinations.drift.mapping import Access
from destinations.drift.outcomes import found, made, needs_token, outcome, token
from destinations.kit import Delivered, Failed, Outcome, Response, Retry
from destinations.kit.contacts import Person
from tests.harness.vendors import answer

PERSON = Person("u", "a@b.de", b"")


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "validation_error", Failed),
        (400, "CONTACT-4", Failed),
        (400, "CONTACT-7", Failed),
        (400, "CONTACT-8", Failed),
        (400, "CONTACT-9", Failed),
        (400, "CONTACT-10", Failed),
        (400, "CONTACT-11", Failed),
        (401, "CONTACT-2", Failed),
        (403, "authentication_error", Failed),
        (404, "not_found", Failed),
        (404, "CONTACT-1", Failed),
        (409, "CONTACT-6", Failed),
        (429, "rate_limit", Retry),
        (400, "rate_limit", Retry),
        (500, "internal_error", Retry),
        (500, "CONTACT-5", Retry),
        (408, "whatever", Retry),
        (502, "whatever", Retry),
        (501, "whatever", Failed),
    ],
)
def test_documented_errors(status: int, kind: str, expected: type[Outcome]) -> None:
    """Each documented status and type has its outcome, with Drift's own words."""
    response = answer(status, {"error": {"type": kind, "message": "Oh no!"}})
    said = outcome(response)
    assert isinstance(said, expected)
    assert isinstance(said, (Failed, Retry))
    assert said.reason == f"Drift refused it: {status} {kind} Oh no!"
    assert made(response) == said
    assert found(response, PERSON) == (None if status == 404 else said)


def test_retry_after() -> None:
    """A 429 waits as long as it asks."""
    response = answer(429, {"error": {"type": "rate_limit", "message": "m"}}, Retry_After="7")
    assert outcome(response) == Retry("Drift refused it: 429 rate_limit m", 7.0)


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{}}'])
def test_errors_without_words(body: bytes) -> None:
    """Where an error's words cannot be had, the status decides."""
    assert isinstance(outcome(Response(400, {}, body)), Failed)
    assert isinstance(outcome(Response(502, {}, body)), Retry)


def test_event_taken() -> None:
    """A 200 is delivered, even where its words were cut short."""
    assert outcome(answer(200, {"data": {"event": "e"}})) == Delivered()
    assert outcome(Response(200, {}, b"{", "cut off in the middle")) == Delivered()


@pytest.mark.parametrize(
    "response",
    [
        Response(200, {}, b"<html>"),
        Response(200, {}, b"{"),
        Response(200, {}, b""),
        Response(200, {}, b'{"data":{"id":1}}', "cut off in the middle"),
        answer(200, {}),
        answer(200, [1]),
        answer(200, {"data": "x"}),
        answer(200, {"data": {"id": "1"}}),
        answer(200, {"data": {"id": True}}),
        answer(200, {"data": {"id": -1}}),
        answer(200, {"data": {"id": 2**64}}),
        answer(200, {"data": [[]]}),
        answer(200, {"data": ["x"]}),
    ],
)
def test_successes_that_are_none(response: Response) -> None:
    """A 200 that holds no contact is tried again, and says what it is."""
    assert isinstance(made(response), Retry)
    assert isinstance(found(response, PERSON), Retry)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer(401), True),
        (answer(403, {"error": {"type": "authentication_error"}}), True),
        (answer(403, {"error": {"type": "other"}}), False),
        (answer(403), False),
        (answer(400), False),
        (answer(200), False),
    ],
)
def test_needs_token(response: Response, expected: bool) -> None:
    """A token that has ended is told by 401, or 403 for missing authorization."""
    assert needs_token(response) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"access_token": "A", "expires_in": 7200}, Access("A", 7200.0)),
        ({"accessToken": "A", "expiresIn": 7200, "refreshToken": "R"}, Access("A", 7200.0, "R")),
        ({"access_token": "A", "expires_in": 0}, Access("A", None)),
        ({"access_token": "A", "refresh_token": 5}, Access("A", None)),
    ],
)
def test_token(said: Any, expected: Access) -> None:  # Any: JSON
    """A token comes with its lifetime, and maybe with a new refresh token."""
    assert token(answer(200, said)) == expected


@pytest.mark.parametrize(
    "response",
    [
        answer(200, {"access_token": "secret\r\nX: y"}),
        answer(200, {"access_token": ""}),
        answer(200, ["secret"]),
        Response(200, {}, b"<html>secret"),
    ],
)
def test_no_token(response: Response) -> None:
    """An answer without a token is tried again, and never quoted."""
    said = token(response)
    assert isinstance(said, Retry)
    assert "secret" not in said.reason


def test_token_refused() -> None:
    """An app that is not allowed (any more) is final."""
    assert isinstance(token(answer(400, {"error": "invalid_grant"})), Failed)
    assert isinstance(token(answer(503)), Retry)
