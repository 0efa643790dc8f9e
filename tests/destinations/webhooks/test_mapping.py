"""What each type of event becomes in a webhook, and what receivers' statuses mean, without HTTP."""

from __future__ import annotations

import json

import pytest

from destinations.kit import Delivered, Event, Failed, Outcome, Response, Retry, Split
from destinations.kit.contract import EVENT_TYPES
from destinations.webhooks.mapping import USER_AGENT, endpoint, signed
from destinations.webhooks.outcomes import outcome
from tests.harness.usual import usual

SINGLE = endpoint("https://hooks.example.com/in", {}, batch=False)
BATCH = endpoint("https://hooks.example.com/in", {}, batch=True)


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_each_type(event_type: str) -> None:
    """An event of any type is posted byte for byte as it was stored."""
    event = usual(event_type)
    request = SINGLE.request([event.raw])
    assert (request.method, request.url) == ("POST", "https://hooks.example.com/in")
    assert request.body == event.raw
    assert dict(request.headers) == {"Content-Type": "application/json", "User-Agent": USER_AGENT}


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"type":"track"}',
        b' {"type" : "track" , "n":1.0} ',
        '{"ü":"😀","a":"\\ud83d\\ude00"}'.encode(),
        b'{"timestamp":1700000000,"createdAt":"soon","n":1e400,"big":18446744073709551616}',
        b'{"userId":null,"traits":[],"properties":"x","context":5}',
    ],
)
def test_bytes_stay(raw: bytes) -> None:
    """Nothing is read or changed: blanks, numbers, times and wrong types are the receiver's."""
    assert SINGLE.request([raw]).body == raw
    assert BATCH.request([raw, raw]).body == b"[" + raw + b"," + raw + b"]"
    assert Event(raw).raw == raw


def test_signature() -> None:
    """The signature is the hex HMAC-SHA1 of the body, and without a secret there is none."""
    request = SINGLE.request([b'{"a":1}'])
    # printf '{"a":1}' | openssl dgst -sha1 -hmac secret
    assert signed(request, b"secret").headers["X-Signature"] == (
        "f8446672f033e4b2beafc5ca3a71eafcd2cafb6e"
    )
    assert "X-Signature" not in signed(request, None).headers


@pytest.mark.parametrize(
    ("status", "single", "several"),
    [
        (200, Delivered, Delivered),
        (201, Delivered, Delivered),
        (204, Delivered, Delivered),
        (301, Failed, Failed),
        (400, Failed, Split),
        (401, Failed, Failed),
        (404, Failed, Failed),
        (408, Retry, Retry),
        (410, Failed, Failed),
        (413, Failed, Split),
        (422, Failed, Split),
        (423, Retry, Retry),
        (425, Retry, Retry),
        (429, Retry, Retry),
        (500, Retry, Retry),
        (501, Failed, Failed),
        (502, Retry, Retry),
        (503, Retry, Retry),
        (504, Retry, Retry),
        (505, Failed, Failed),
    ],
)
def test_statuses(status: int, single: type[Outcome], several: type[Outcome] | type[Split]) -> None:
    """The status decides, and one that may be about a single event splits a batch."""
    response = Response(status, {}, json.dumps({"error": "why"}).encode())
    assert isinstance(outcome(response, 1), single)
    assert isinstance(outcome(response, 2), several)


def test_flaws_change_nothing() -> None:
    """A body that is cut off, endless or a page changes no success into a repeat."""
    for response in (
        Response(200, {}, b"<html>"),
        Response(200, {}, b"x", "cut off in the middle"),
        Response(200, {}, b"x", "larger than 1048576 bytes"),
        Response(200, {}, b"", "not finished within 10 s"),
    ):
        assert outcome(response, 3) == Delivered()
