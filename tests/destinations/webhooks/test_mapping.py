"""What each type of event becomes in a webhook, and what receivers' statuses mean, without HTTP."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest

from destinations.kit import (
    Delivered,
    Event,
    Failed,
    Item,
    Outcome,
    Part,
    Request,
    Response,
    Retry,
    Split,
    Unsupported,
)
from destinations.kit.contract import EVENT_TYPES
from destinations.kit.loading import load, settings_errors
from destinations.webhooks import Webhooks
from destinations.webhooks.mapping import USER_AGENT, endpoint, signed
from destinations.webhooks.outcomes import outcome
from tests.harness.destinations import destination
from tests.harness.usual import usual
from tests.harness.vendors import event_of

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


def mapped(settings: dict[str, Any], **fields: Any) -> Request | Outcome:
    """The request of one event with these settings; Any: JSON."""
    one = destination("webhooks", {"url": "https://hooks.example.com/in", **settings})
    assert isinstance(one, Webhooks)
    item = one.item(event_of(**fields))
    return one.request(Part(item.endpoint, [item.body], [0])) if isinstance(item, Item) else item


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_methods(method: str) -> None:
    """The request has the method of the settings, signed or not."""
    for settings in ({"method": method}, {"method": method, "shared_secret": "s"}):
        request = mapped(settings, type="track")
        assert isinstance(request, Request)
        assert request.method == method


def test_body_by_mapping() -> None:
    """The body is an object of the mapped fields; the signature is that of this body."""
    settings = {
        "mapping": {"user.email": "@email", "user.id": "userId", "plan": "lower(traits.plan)"},
        "shared_secret": "s",
    }
    request = mapped(settings, type="identify", userId="u", traits={"Plan": "Pro"})
    assert isinstance(request, Request)
    assert json.loads(request.body) == {"user": {"id": "u"}, "plan": "pro"}
    assert request.headers["X-Signature"] == hmac.digest(b"s", request.body, "sha1").hex()
    assert mapped(settings, type="page", anonymousId="a") == Unsupported()


def test_headers_of_events() -> None:
    """A header is what its expression gives, in printable ASCII; without a value there is none."""
    settings = {"header_mapping": {"X-User": "userId", "X-Plan": "traits.plan"}}
    request = mapped(settings, type="track", userId="ü\r\nX: y 100%")
    assert isinstance(request, Request)
    assert request.headers["X-User"] == "%C3%BC%0D%0AX: y 100%25"
    assert "X-Plan" not in request.headers
    long = mapped(settings, type="track", userId="x" * 5000)
    assert isinstance(long, Request)
    assert len(long.headers["X-User"]) == 1000


def test_batches_by_headers() -> None:
    """Events with equal headers share an endpoint, and so a request."""
    one = destination(
        "webhooks",
        {"url": "https://h.example/", "batch": True, "header_mapping": {"X-Type": "type"}},
    )
    assert isinstance(one, Webhooks)
    items = [one.item(event_of(type=kind)) for kind in ("track", "page", "track")]
    endpoints = [item.endpoint for item in items if isinstance(item, Item)]
    assert endpoints[0] is endpoints[2]
    assert endpoints[0] is not endpoints[1]


def test_errors_of_mappings() -> None:
    """What is wrong with a mapping has its key path."""
    wrong = {
        "url": "https://h.example/",
        "header_mapping": {"X-A": "traits.", "X-Signature": "'a'", "X B": "'a'"},
        "mapping": {"user": "userId", "user.id": "userId", "plan": "lower(a"},
    }
    assert settings_errors(load("webhooks", None), wrong) == [
        "header_mapping.X-Signature: is set by Bulkhead itself",
        "header_mapping.'X B': is no name of a header",
        "header_mapping.X-A: column 7: a path or text is wanted, and there is '.'",
        'mapping.plan: column 8: ")" is wanted, and it ends',
        "mapping.user.id: stands in another field that the mapping sets",
    ]
