"""The event facade: read-only, lazy, and never surprised by what senders send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Event
from destinations.kit.event import to_datetime

ACCESSORS = [
    name for name in dir(Event) if isinstance(getattr(Event, name), property) and name[0] != "_"
]


def event(**fields: Any) -> Event:  # Any: JSON
    return Event(json.dumps(fields).encode())


def test_mapping_of_the_event_as_received() -> None:
    """An event is a mapping of its JSON, and keeps the very bytes."""
    one = event(type="track", event="Bought", properties={"a": [1]})
    assert dict(one) == {"type": "track", "event": "Bought", "properties": {"a": [1]}}
    assert one.raw == json.dumps(dict(one)).encode()


def test_read_only() -> None:
    """Nothing can be set on an event."""
    with pytest.raises(TypeError):
        event(a=1)["a"] = 2  # type: ignore[index]  # that it cannot be is what is tested


def test_events_of_the_same_bytes_share_nothing() -> None:
    """What one event's user does to a nested value is not seen through another event."""
    one = event(properties={"a": []})
    other = Event(one.raw)
    one["properties"]["a"].append(1)
    assert other["properties"] == {"a": []}


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"userId": "u"}, "user_id", "u"),
        ({"userId": 7}, "user_id", "7"),
        ({"userId": True}, "user_id", None),
        ({"userId": ""}, "user_id", None),
        ({"sessionId": "s"}, "anonymous_id", "s"),
        ({"context": {"groupId": "g"}}, "group_id", "g"),
        ({"previousId": "p"}, "previous_id", "p"),
        ({"event": " Bought "}, "event", "Bought"),
        ({"traits": {"firstName": " Ada "}}, "first_name", "Ada"),
        ({"traits": {"first_name": "Ada"}}, "first_name", "Ada"),
        ({"traits": {"firstname": "Ada"}}, "first_name", "Ada"),
        ({"traits": {"name": " Ada King Lovelace "}}, "first_name", "Ada"),
        ({"traits": {"name": "Ada King Lovelace"}}, "last_name", "King Lovelace"),
        ({"traits": {"name": "Ada"}}, "last_name", None),
        ({"traits": {"firstName": "Ada", "last_name": "King"}}, "name", "Ada King"),
        ({"traits": {"firstName": "Ada"}}, "name", None),
        ({"type": "page", "name": "Home", "traits": {"name": "Ada"}}, "name", "Home"),
        ({"context": {"traits": {"name": "Ada"}}}, "name", "Ada"),
        ({"traits": {"email": "a@b.de"}}, "email", "a@b.de"),
        ({"properties": {"email": "a@b.de"}}, "email", "a@b.de"),
        ({"userId": "a@b.de"}, "email", "a@b.de"),
        ({"userId": "nobody"}, "email", None),
        ({"traits": {"address": {"street": " 1 Main St "}}}, "street", "1 Main St"),
        ({"traits": {"city": "Bonn"}, "properties": {"city": "Ulm"}}, "city", "Bonn"),
        ({"properties": {"address": {"region": "Hesse"}}}, "region", "Hesse"),
        ({"context": {"traits": {"address": {"state": "CA"}}}}, "state", "CA"),
        ({"traits": {"address": {"postal_code": 53111}}}, "postal_code", "53111"),
        ({"traits": {"zip": "94105"}}, "postal_code", "94105"),
        ({"traits": {"address": "1 Main St", "country": "DE"}}, "country", "DE"),
        ({"traits": {"country": ["DE"]}}, "country", None),
        ({"context": {"ip": "1.2.3.4"}}, "ip", "1.2.3.4"),
        ({"context": {"userAgent": "curl"}}, "user_agent", "curl"),
        ({"options": {"locale": "de-DE"}}, "locale", "de-DE"),
        ({"context": {"timezone": "Europe/Berlin"}}, "timezone", "Europe/Berlin"),
        ({"context": {"page": {"referrer": "r"}}}, "referrer", "r"),
        ({"context": {"referrer": {"url": "u"}}, "properties": {"referrer": "p"}}, "referrer", "u"),
        ({"properties": {"referrer": "p"}}, "referrer", "p"),
        ({"traits": 3, "context": {"traits": {"a": 1}}}, "traits", {"a": 1}),
        ({"properties": "x"}, "properties", {}),
        ({"timestamp": "2026-01-02T03:04:05Z"}, "timestamp", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
    ],
)  # fmt: skip
def test_accessors(fields: dict[str, Any], name: str, value: object) -> None:
    """Each accessor finds its value where SDKs put it, with the facade's fall-backs."""
    assert getattr(event(**fields), name) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties.order.id", 1),
        ("properties.Order.ID", 1),
        ("properties.total_value", 2),
        ("properties.totalValue", 2),
        ("properties.total-value", 2),
        ("properties.with.dot", 3),
        ("properties.products.1.sku", "b"),
        ("properties.products.9.sku", None),
        ("properties.order.id.deeper", None),
        ("traits.plan", "pro"),
        ("options.traits.plan", "pro"),
        ("nothing", None),
        ("", None),
    ],
)
def test_proxy_takes_any_case_style(path: str, value: object) -> None:
    """A dotted path finds its value whatever the case style of the keys."""
    one = event(
        properties={
            "order": {"id": 1},
            "totalValue": 2,
            "with.dot": 3,
            "products": [{"sku": "a"}, {"sku": "b"}],
        },
        context={"traits": {"plan": "pro"}},
    )
    assert one.proxy(path) == value


def test_options_by_any_name() -> None:
    """The options of a destination are found whatever the case of its name."""
    one = event(integrations={"All": True, "Google Analytics": {"clientId": "c"}, "mixpanel": True})
    assert one.options("google-analytics") == {"clientId": "c"}
    assert one.options("mixpanel") == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["traits", "name", "context", "userId", "timestamp", "x.y", ""])
            | st.sampled_from(["properties", "subtotal", "total", "tax", "address", "zip"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_accessors_never_raise_for_json(value: Any) -> None:  # Any: JSON
    """Whatever JSON an event is, its accessors answer."""
    one = Event(json.dumps(value).encode())
    for name in ACCESSORS:
        getattr(one, name)
    one.proxy("traits.name.x")
    one.options("x")
    repr(one)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=30))
def test_accessors_never_raise_for_bytes(raw: bytes) -> None:
    """Not even bytes that are no JSON make an accessor raise."""
    one = Event(raw)
    for name in ACCESSORS:
        getattr(one, name)
    assert len(one) == len(dict(one))


def test_deep_nesting_is_an_empty_event() -> None:
    """JSON nested deeper than any decoder goes is an event of nothing."""
    assert len(Event(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("yesterday", None),
        (1e300, None),
        (True, None),
        (None, None),
    ],
)
def test_times(value: object, expected: datetime | None) -> None:
    """Times are ISO text, seconds or milliseconds; anything else is None."""
    assert to_datetime(value) == expected
