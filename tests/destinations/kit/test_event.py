"""The event facade: read-only, lazy, and never surprised by what senders send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Event
from destinations.kit.times import to_datetime
from tests.harness.vendors import event_of

ACCESSORS = [
    name for name in dir(Event) if isinstance(getattr(Event, name), property) and name[0] != "_"
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOVEMBER = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


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
        ({"traits": {"firstName": "Ada"}}, "name", "Ada"),
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
        # names
        ({"traits": {"FIRST-NAME": "Ada", "Last Name": " King "}}, "name", "Ada King"),
        ({"traits": {"firstname": " Ada ", "lastname": "King"}}, "name", "Ada King"),
        ({"traits": {"name": " Ada\tKing "}}, "first_name", "Ada"),
        ({"traits": {"name": " Ada\tKing "}}, "last_name", "King"),
        ({"traits": {"name": 7}}, "name", None),
        ({"traits": {}, "context": {"traits": {"name": "Ada"}}}, "name", "Ada"),
        ({"traits": {"a": 1}, "context": {"traits": {"first_name": "Ada"}}}, "first_name", "Ada"),
        ({"type": "group", "context": {"traits": {"name": "Ada"}}}, "name", None),
        ({"type": "group", "properties": {"name": "Acme"}}, "name", "Acme"),
        ({"type": "page", "properties": {"name": "Home"}}, "name", "Home"),
        ({"type": "page", "name": "Home", "category": " Docs "}, "full_name", "Docs Home"),
        ({"type": "screen", "name": "Home"}, "full_name", "Home"),
        ({"type": "page", "category": "Docs"}, "full_name", None),
        ({"type": "track", "name": "Home"}, "full_name", None),
        ({"type": "page", "properties": {"category": "Docs"}}, "category", "Docs"),
        ({"type": "track", "category": "x", "properties": {"category": "y"}}, "category", "y"),
        ({"traits": {"username": "ada"}}, "username", "ada"),
        ({"userId": "u"}, "username", None),
        ({"type": "track", "userId": "u"}, "username", "u"),
        ({"type": "track", "userId": "u", "properties": {"username": "ada"}}, "username", "ada"),
        ({"userId": "u", "traits": {"username": "ada"}}, "uid", "u"),
        ({"traits": {"username": "ada", "email": "a@b.de"}}, "uid", "ada"),
        ({"traits": {"email": "a@b.de"}}, "uid", "a@b.de"),
        # how to reach them
        ({"traits": {"Email": " a@b.de "}}, "email", "a@b.de"),
        ({"userId": "a@b"}, "email", None),
        ({"type": "group", "groupId": "a@b.de", "userId": "c@d.de"}, "email", "a@b.de"),
        ({"type": "group", "groupId": "g", "userId": "c@d.de"}, "email", None),
        ({"traits": {"email": "a@b.de"}}, "user_email", "a@b.de"),
        ({"userId": "a@b.de", "properties": {"email": "c@d.de"}}, "user_email", "a@b.de"),
        ({"userId": "a@b.de", "properties": {"email": "c@d.de"}}, "email", "c@d.de"),
        ({"type": "group", "groupId": "a@b.de", "userId": "c@d.de"}, "user_email", "c@d.de"),
        ({"type": "group", "traits": {"email": "a@b.de"}}, "user_email", None),
        ({"type": "group", "context": {"traits": {"email": "a@b.de"}}}, "user_email", "a@b.de"),
        ({"traits": {"phone": " 1 "}}, "phone", "1"),
        ({"traits": {"phone": 491}}, "phone", "491"),
        ({"traits": {"phones": [None, "2", "3"]}}, "phone", "2"),
        ({"properties": {"phone": "4"}}, "phone", "4"),
        ({"traits": {"phone": "1"}}, "phones", ["1"]),
        ({"traits": {"phone": "1", "phones": ["2", 3]}}, "phones", ["2", "3"]),
        ({"traits": {"phones": "2"}}, "phones", []),
        ({"traits": {"websites": ["w"]}}, "website", "w"),
        ({"traits": {"website": "w"}}, "websites", ["w"]),
        # what is known of them
        ({"traits": {"createdAt": "2026-01-02"}}, "created", datetime(2026, 1, 2, tzinfo=UTC)),
        ({"traits": {"created": "1700000000"}}, "created", NOVEMBER),
        ({"traits": {"created_at": "soon"}}, "created", None),
        ({"traits": {"birthday": "1990-05-06"}}, "birthday", datetime(1990, 5, 6, tzinfo=UTC)),
        ({"traits": {"age": "37"}}, "age", 37),
        ({"traits": {"age": -1}}, "age", None),
        ({"traits": {"birthday": "1990-05-06"}, "timestamp": "2026-05-05T00:00:00Z"}, "age", 35),
        ({"traits": {"birthday": "1990-05-06"}, "timestamp": "2026-05-06T00:00:00Z"}, "age", 36),
        ({"traits": {"birthday": "1990-05-06"}}, "age", None),
        ({"traits": {"gender": "f"}}, "gender", "f"),
        ({"traits": {"photo_url": "p"}}, "avatar", "p"),
        ({"traits": {"avatarUrl": "a", "avatar": "b"}}, "avatar", "b"),
        ({"traits": {"job_title": "j"}}, "position", "j"),
        ({"traits": {"position": "p", "title": "t"}}, "position", "p"),
        ({"traits": {"background": "b"}}, "description", "b"),
        ({"type": "track", "properties": {"description": "d"}}, "description", "d"),
        # their company
        ({"traits": {"company": {"name": " Acme "}}}, "company_name", "Acme"),
        ({"traits": {"company": "Acme"}}, "company_name", "Acme"),
        ({"traits": {"company": ["Acme"]}}, "company_name", None),
        ({"type": "group", "traits": {"name": "Acme"}}, "company_name", "Acme"),
        ({"traits": {"company": {"created_at": 0}}}, "company_created", EPOCH),
        ({"type": "group", "traits": {"industry": "i"}}, "industry", "i"),
        ({"traits": {"company": {"industry": "i"}}}, "industry", "i"),
        ({"traits": {"company": {"employee_count": "12"}}}, "employees", 12),
        ({"type": "group", "traits": {"employees": -1}}, "employees", None),
        ({"traits": {"plan": "pro"}}, "plan", "pro"),
        ({"type": "track", "traits": {"plan": "a"}, "properties": {"plan": "b"}}, "plan", "b"),
        ({"traits": {"address": " 1 Main St "}}, "address", "1 Main St"),
        ({"traits": {"address": {"city": "Bonn", "zip": 53111}}}, "address", "Bonn, 53111"),
        ({}, "address", None),
        # orders
        ({"properties": {"Product-ID": 7}}, "product_id", "7"),
        ({"properties": {"SKU": "s", "coupon": " c "}}, "coupon", "c"),
        ({"properties": {"value": "$2.50"}}, "value", 2.5),
        ({"properties": {"total": True}}, "total", None),
        ({"properties": {"quantity": 3}}, "quantity", 3),
        ({"properties": {}}, "quantity", 1),
        # circumstances
        ({"channel": "server"}, "channel", "server"),
        ({"context": {"channel": "mobile"}}, "channel", "mobile"),
        ({"context": {"library": "x"}}, "library", {"name": "x", "version": None}),
        ({"context": {"library": {"version": 1}}}, "library", {"name": "unknown", "version": 1}),
        ({}, "library", {"name": "unknown", "version": None}),
        ({"context": {"device": {"type": "tv"}}}, "device", {"type": "tv"}),
        ({"context": {"library": "x-ios", "device": {"a": 1}}}, "device", {"a": 1, "type": "ios"}),
        ({"context": {"library": {"name": "analytics-android"}}}, "device", {"type": "android"}),
        ({}, "is_active", True),
        ({"context": {"active": False}}, "is_active", False),
        ({"context": {"user_agent": "curl"}}, "user_agent", "curl"),
        ({"properties": {"url": "u"}, "context": {"page": {"url": "v", "path": "/p"}}}, "url", "u"),
        ({"context": {"page": {"path": "/p"}}}, "path", "/p"),
        ({"properties": {"title": "t"}}, "title", "t"),
        ({"traits": {"größe": 1}}, "traits", {"größe": 1}),
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
        ("Traits.Plan", "pro"),
        ("PROPERTIES.order.id", 1),
        ("properties.Größe", 4),
        ("properties.weite", None),
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
            "größe": 4,
            "länge": 5,
            "products": [{"sku": "a"}, {"sku": "b"}],
        },
        context={"traits": {"plan": "pro"}},
    )
    assert one.proxy(path) == value


def test_options_by_any_name() -> None:
    """The options of a destination are found by any of its names, in any case."""
    one = event(integrations={"All": True, "Google Analytics": {"clientId": "c"}, "mixpanel": True})
    assert one.options("google-analytics") == {"clientId": "c"}
    assert one.options("GA4", "google analytics") == {"clientId": "c"}
    assert one.options("mixpanel") == {}
    assert one.options() == {}
    assert event().options("mixpanel") == {}


@pytest.mark.parametrize(
    ("integrations", "is_enabled"),
    [
        ({}, True),
        ("all", True),
        ({"All": False}, False),
        ({"all": False, "Google Ads": True}, True),
        ({"All": False, "google-ads": {"x": 1}}, True),
        ({"AdWords": False}, False),
        ({"AdWords": False, "Google Ads": True}, False),
        ({"All": False, "google ads": "yes"}, False),
        ({"Mixpanel": False}, True),
    ],
)
def test_enabled_by_any_name(integrations: Any, is_enabled: bool) -> None:  # Any: JSON
    """A destination's own names decide whether it gets an event, and else `All`."""
    assert event(integrations=integrations).enabled("Google Ads", "AdWords") is is_enabled


def test_trait_of_either_place() -> None:
    """A trait is found in the traits, else in those of the context; a group has its own only."""
    fields = {"traits": {"a": 1}, "context": {"traits": {"a": 2, "bC": 3}}}
    assert [event(**fields).trait(path) for path in ("a", "b_c", "d")] == [1, 3, None]
    group = event(type="group", **fields)
    assert [group.trait("a"), group.trait("bC"), group.user_traits["bC"]] == [1, None, 3]


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
        ("20260102", datetime(2026, 1, 2, tzinfo=UTC)),
        (" 2026-01-02T03:04:05Z ", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05.678+01:00", datetime(2026, 1, 2, 2, 4, 5, 678000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000.5", datetime(2023, 11, 14, 22, 13, 20, 500000, tzinfo=UTC)),
        (1_700_000_000.25, datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("Tue, 14 Nov 2023 22:13:20 GMT", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("14 Nov 2023 22:13:20 +0100", datetime(2023, 11, 14, 21, 13, 20, tzinfo=UTC)),
        ("14 Foo 2023 22:13", None),
        ("1" * 40, None),
        ("", None),
        (float("nan"), None),
        ([2026], None),
        ("yesterday", None),
        (1e300, None),
        (True, None),
        (None, None),
    ],
)
def test_times(value: object, expected: datetime | None) -> None:
    """Times are ISO text, seconds or milliseconds; anything else is None."""
    assert to_datetime(value) == expected


def test_renamed() -> None:
    """An event under another name is the same in all else."""
    event = event_of(type="track", event="Own", Event="other", userId="u", properties={"a": 1})
    renamed = event.renamed("Order Completed")
    assert (renamed.event, renamed.user_id, renamed.properties) == (
        "Order Completed",
        "u",
        {"a": 1},
    )
    assert event.event == "Own"
    assert renamed.raw == event.raw


def test_plain_properties() -> None:
    """Properties by their plain keys, without nulls; made once."""
    properties = {"Order ID": 1, "order_id": 2, "x": None}
    event = event_of(type="page", name="Home", properties=properties)
    assert event.plain_properties == {"orderid": 1, "name": "Home"}
    assert event.plain_properties is event.plain_properties
    assert event_of(type="track", properties=5).plain_properties == {}
