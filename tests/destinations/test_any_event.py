"""What holds for every built-in destination and every event, however odd.

Destinations are found from their folder: a new one is in this suite at once.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.kit import Delivered, Event, Failed, Outcome, Request, Retry, Unsupported
from destinations.kit.contract import EVENT_TYPES
from destinations.kit.loading import load, settings_errors
from tests.harness import linear
from tests.harness.destinations import NAMES, answered_by, destination, vendor
from tests.harness.usual import COMMON, EVENTS, NOW, usual
from tests.harness.vendors import event_of, is_token_request


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_the_suite(name: str) -> None:
    """Every destination has a `vendor.py` beside its tests, with settings that are right."""
    assert settings_errors(load(name, None), vendor(name).settings) == []


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
@pytest.mark.parametrize("name", NAMES)
async def test_each_type(name: str, event_type: str) -> None:
    """A usual event of a type that a destination declares is delivered, unless settings say no."""
    with time_machine.travel(NOW, tick=False), answered_by(vendor(name).answer) as asked:
        outcomes = await destination(name).deliver([usual(event_type)])
    if event_type not in load(name, None).types:
        assert_clear(outcomes)  # the service would not hand it over
    elif event_type in vendor(name).unused:
        assert outcomes == [Unsupported()]
        assert asked == []
    else:
        assert outcomes == [Delivered()]
        assert asked


def cases(*, is_mapped: bool = False) -> list[tuple[str, str]]:
    """Each destination with each type that it has a use for; or only those that map events."""
    return [
        (name, event_type)
        for name in NAMES
        if not (is_mapped and vendor(name).is_verbatim)
        for event_type in sorted(load(name, None).types - vendor(name).unused)
    ]


def made(name: str, fields: dict[str, Any]) -> tuple[Sequence[Outcome], list[Any]]:
    """The outcomes of an event of these fields, and what was sent for it."""
    with (
        asyncio.Runner() as runner,
        answered_by(vendor(name).answer) as asked,
        time_machine.travel(NOW, tick=False),
    ):
        outcomes = runner.run(destination(name).deliver([event_of(**fields)]))
    assert_clear(outcomes)
    for request in asked:
        assert_valid(request)
    return outcomes, [(request.method, request.url, request.body) for request in asked]


#: One moment, the second before `NOW`, as senders write it.
MOMENTS = [
    "2026-11-25T11:59:59+00:00",
    "2026-11-25T12:59:59.000+01:00",
    "2026-11-25 11:59:59",
    "Wed, 25 Nov 2026 11:59:59 GMT",
    1795607999,
    1795607999000,
    1795607999.0,
    "1795607999",
    "1795607999000",
]


@pytest.mark.parametrize(("name", "event_type"), cases(is_mapped=True))
def test_times_in_all_forms(name: str, event_type: str) -> None:
    """An event's time is the same in all forms: its requests are equal to the last byte."""
    fields = dict(usual(event_type))
    expected = made(name, fields)
    for moment in MOMENTS:
        assert made(name, fields | {"timestamp": moment}) == expected, moment


@pytest.mark.parametrize(("name", "event_type"), cases())
def test_times_that_are_none(name: str, event_type: str) -> None:
    """Without a time, or with one that nobody can read, an event has a clear outcome."""
    odd: list[object] = [None, "", "soon", [], {}, True, 1e300, "9" * 30]
    for moment in [*odd, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]:
        fields = dict(usual(event_type)) | {"timestamp": moment}
        made(name, fields)
        made(name, fields | {"receivedAt": moment})


@pytest.mark.parametrize(("name", "event_type"), cases(is_mapped=True))
def test_unknown_fields(name: str, event_type: str) -> None:
    """Fields that no spec knows change nothing of what is sent."""
    fields = dict(usual(event_type))
    unknown = {"unknown": {"deep": [1, {"er": None}]}, "version": 2, "_metadata": {}, "": 1}
    assert made(name, fields | unknown) == made(name, fields)


@pytest.mark.parametrize(("name", "event_type"), cases())
@pytest.mark.parametrize("wrong", [None, 5, "x", [], [1], True, 1.5])
def test_objects_of_the_wrong_type(name: str, event_type: str, wrong: object) -> None:
    """What should be an object and is none has a clear outcome, alone and all together."""
    objects = ("traits", "properties", "context", "integrations")
    fields = dict(usual(event_type))
    for key in objects:
        made(name, fields | {key: wrong})
    made(name, fields | dict.fromkeys(objects, wrong))


@pytest.mark.parametrize(("name", "event_type"), cases())
def test_missing_ids(name: str, event_type: str) -> None:
    """Without any of the ids, and without all of them, an event has a clear outcome."""
    ids = ("userId", "anonymousId", "messageId", "groupId", "previousId", "context")
    fields = dict(usual(event_type))
    for missing in (*((key,) for key in ids), ids):
        made(name, {key: value for key, value in fields.items() if key not in missing})


UNICODE = "Änne 日本 😀 \u202e é"


@pytest.mark.parametrize(("name", "event_type"), cases())
def test_unicode(name: str, event_type: str) -> None:
    """Text of any script is sent as it is, wherever it stands."""
    fields = dict(usual(event_type))
    texts = {"name": UNICODE, "plan": UNICODE, "url": f"https://x.example/{UNICODE}"}
    for key in ("traits", "properties"):
        if key in fields:
            fields[key] = {**fields[key], **texts, UNICODE: UNICODE}
    outcomes, _ = made(name, fields | {"userId": UNICODE, "name": UNICODE, "groupId": UNICODE})
    assert outcomes == [Delivered()]


#: Keys that mappings look for, in several styles, and values that they do not expect there.
KEYS = st.sampled_from([
    "type", "event", "userId", "anonymousId", "groupId", "previousId", "messageId", "timestamp",
    "receivedAt", "name", "category", "traits", "properties", "context", "integrations",
    "options", "email", "phone", "phones", "first_name", "lastName", "address", "street", "city",
    "zip", "company", "id", "created", "createdAt", "birthday", "age", "plan", "website",
    "avatar", "title", "url", "path", "referrer", "page", "campaign", "library", "device", "app",
    "os", "network", "screen", "ip", "userAgent", "locale", "timezone", "products", "product_id",
    "sku", "price", "quantity", "revenue", "value", "total", "tax", "shipping", "discount",
    "currency", "coupon", "order_id", "orderId", "query", "gclid", "search", "consent",
    "adUserData", "ad_user_data", "session_id", "Mixpanel", "Intercom", "Drift", "Salesforce",
    "Marketo", "GA4", "AdWords", "clientId", "employees", "industry", "group_id", "$group_id",
    "tags", "events", "all", "All", "x.y", "größe", "日本", "_", "-", "0",
]) | st.text(max_size=6)  # fmt: skip
#: Keys of `KEYS` under which a mapping may read a text.
TEXT_KEYS = (
    *("name", "first_name", "lastName", "email", "phone", "street", "city", "zip", "company"),
    *("created", "birthday", "age", "plan", "website", "title", "url", "path", "referrer", "sku"),
    *("campaign", "ip", "userAgent", "locale", "price", "quantity", "revenue", "total", "currency"),
    *("order_id", "gclid", "search", "consent", "session_id", "employees", "industry", "address"),
    *("product_id", "coupon", "category", "source", "clientId", "query", "value"),
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "ann@example.com",
        "ä@b.de",
        "@",
        "Order Completed",
        "Product Viewed",
        "2026-11-25T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1700000000",
        "99999999999999999999",
        "$1e999",
        "https://x.example/?gclid=1&utm_source=a#b",
        "https://[::1",
        "+49 (0) 123",
        "EUR",
        "\ud800",
        "a\x00b",
        "line\r\nX-Header: y",
        "\u202e\u0000\U0001f600",
        "x" * 3000,
        "true",
    ]
) | st.text(max_size=12)
NUMBERS = (
    st.sampled_from(
        [0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**64), 10**40, 1e-320, 1e308, 0.1, -0.0, 1e16]
    )
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=8)


def merged(parts: tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]) -> bytes:
    """A usual event of a type, in which some things are not as usual."""
    event_type, top, below, nested = parts
    fields: dict[str, Any] = {"type": event_type, **COMMON, **EVENTS[event_type], **top}
    for key, value in below.items():
        for place in ("traits", "properties", "context"):
            if isinstance(fields.get(place), dict):
                fields[place] = {**fields[place], key: value}
    if nested:
        fields["context"] = {"traits": nested, "page": nested, "campaign": nested}
    return json.dumps(fields).encode()


ODD = st.one_of(
    st.tuples(st.sampled_from(sorted(EVENT_TYPES)), OBJECTS, OBJECTS, OBJECTS).map(merged),
    OBJECTS.map(lambda fields: json.dumps(fields).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=20),
    st.sampled_from([b'{"type":"track","properties":{"a":1e999}}', b'{"type":"identify","a":']),
)


@pytest.mark.parametrize("name", NAMES)
def test_odd_events(name: str) -> None:
    """No event, however odd, makes a mapping raise, or a request that could not be sent."""
    one = destination(name)
    with asyncio.Runner() as runner, answered_by(vendor(name).answer) as asked:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(ODD)
        def check(raw: bytes) -> None:
            asked.clear()
            outcomes = runner.run(one.deliver([Event(raw)]))
            assert_clear(outcomes)
            if is_json(raw):  # as all that is stored is; webhooks pass it on as it is
                for request in asked:
                    assert_valid(request)

        check()


@pytest.mark.parametrize("name", NAMES)
def test_odd_events_spoil_no_others(name: str) -> None:
    """A usual event is delivered, whatever stands beside it in its batch."""
    good = usual("track" if "track" in load(name, None).types else "identify")
    with (
        asyncio.Runner() as runner,
        answered_by(vendor(name).answer),
        time_machine.travel(NOW, tick=True),
    ):

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(ODD, max_size=4), st.lists(ODD, max_size=4))
        def check(before: list[bytes], after: list[bytes]) -> None:
            events = [*map(Event, before), good, *map(Event, after)]
            outcomes = runner.run(destination(name).deliver(events))
            assert_clear(outcomes)
            assert len(outcomes) == len(events)
            assert outcomes[len(before)] == Delivered()

        check()


@pytest.mark.parametrize(("name", "event_type"), cases())
def test_long_texts(name: str, event_type: str) -> None:
    """A mapping takes at most fifteen times the time for ten times the text, of any kind."""
    with (
        asyncio.Runner() as runner,
        answered_by(vendor(name).answer) as asked,
        time_machine.travel(NOW, tick=False),
    ):
        one = destination(name)
        for index, part in enumerate(linear.texts(8)):

            def work(length: int, index: int = index) -> Callable[[], object]:
                text = linear.texts(length // 2)[index]  # it stands in a hundred places
                fields: dict[str, Any] = {"type": event_type, **COMMON, **EVENTS[event_type]}
                texts = dict.fromkeys((*TEXT_KEYS, text), text)
                for place in ("traits", "properties"):
                    fields[place] = {**texts, **(fields.get(place) or {})}
                fields["context"] = {**texts, "page": {"url": text, "search": text}}
                fields |= {"timestamp": NOW, "receivedAt": NOW, "integrations": {text: texts}}
                raw = json.dumps(fields, ensure_ascii=False).encode()
                return lambda: runner.run(one.deliver([Event(raw)]))

            assert linear.growth(work) <= linear.MOST, part
            asked.clear()


def assert_clear(outcomes: Sequence[Outcome]) -> None:
    """Each outcome is one, and its reason is no exception's."""
    for outcome in outcomes:
        assert isinstance(outcome, Outcome)
        if isinstance(outcome, (Failed, Retry)):
            assert outcome.reason
            assert " raised " not in outcome.reason, outcome.reason


def assert_valid(request: Request) -> None:
    """A request is one that HTTP can carry, and its JSON is JSON."""
    assert request.url.startswith("https://")
    assert request.url.isascii()
    assert request.url.isprintable()
    assert " " not in request.url
    for header, value in request.headers.items():
        assert header.isascii()
        assert value.isprintable()
    if is_token_request(request) or not request.body:
        return
    body = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    body.decode("utf-8")
    if request.headers.get("Content-Type") == "application/json":
        json.loads(body, parse_constant=refuse)


def is_json(raw: bytes) -> bool:
    """Whether intake would have taken it."""
    try:
        json.loads(raw, parse_constant=refuse)
    except ValueError:
        return False
    return True


def refuse(constant: str) -> None:
    """Infinity and NaN are no JSON."""
    raise ValueError(f"{constant} in a body")
