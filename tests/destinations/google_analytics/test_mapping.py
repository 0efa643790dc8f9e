"""What each type of event becomes in Google Analytics."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.google_analytics.mapping import Mapper, Stream
from destinations.kit import Event, Failed, Item, Outcome, Unsupported

NOW = datetime(2026, 1, 3, tzinfo=UTC)
WEB = Mapper(Stream("https://www.google-analytics.com", "G-1", "s e"), {})
APP = Mapper(Stream("https://www.google-analytics.com", "1:2:ios:3", "s", is_app=True), {})
AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1", "anonymousId": "a"}
MICROS = 1767323045678000
PAGE = {"url": "https://x.de/p?q=1", "title": "Päge", "referrer": "https://y.de/", "path": "/p"}

Said = Item | Outcome


def mapped(mapper: Mapper = WEB, **fields: Any) -> Said:  # Any: JSON
    return mapper.item(Event(json.dumps({**AT, **fields}).encode()), NOW)


def body(said: Said) -> Any:  # Any: JSON
    """The whole body of the request that would carry this event alone."""
    assert isinstance(said, Item)
    return json.loads(said.endpoint.request([said.body]).body)


def sent(said: Said) -> Any:  # Any: JSON
    return body(said)["events"][0]


def params(said: Said) -> Any:  # Any: JSON
    return sent(said)["params"]


def test_call() -> None:
    """The request goes to the stream's URL, whose secret is encoded, with at most 25 events."""
    said = mapped(type="track", event="Hit")
    assert isinstance(said, Item)
    assert said.endpoint.url == (
        "https://www.google-analytics.com/mp/collect?measurement_id=G-1&api_secret=s+e"
    )
    assert (said.endpoint.max_items, said.endpoint.max_bytes) == (25, 129_999)
    request = said.endpoint.request([said.body])
    assert (request.method, request.headers) == ("POST", {"Content-Type": "application/json"})


def test_minimal_track() -> None:
    """A track is an event of its user's client, with its time and the least engagement."""
    assert body(mapped(type="track", event="Hit")) == {
        "client_id": "a",
        "events": [
            {"name": "Hit", "timestamp_micros": MICROS, "params": {"engagement_time_msec": 1}}
        ],
    }


def test_full_track() -> None:
    """A track takes along its user, traits, page, device, consent, session and properties."""
    said = mapped(
        type="track",
        event="Video Played (HD) 🎬",
        userId="ü-1",
        properties={
            "Position (s)": 1.5,
            "auto-play": True,
            "größe": "x" * 101,
            "_hidden": 1,
            "2nd": 2,
            "🎬": 3,
            "nested": {"a": 1},
            "list": [1],
            "nothing": None,
            "empty": "",
            "ga_x": 1,
            "google_x": 1,
            "firebase_conversion": 1,
            "email": "a@b.de",
            "engagement_time_msec": 2500,
            "n" * 50: 1,
        },
        context={
            "ip": "1.2.3.4",
            "userAgent": "Mozilla/5.0",
            "page": PAGE,
            "sessionId": 1767000000,
            "consent": {"adUserData": True, "ad_personalization": "denied"},
            "traits": {"plan": "pro", "email": "a@b.de", "name": "Ann", "age": 7, "vip": False},
        },
        unknown={"x": 1},
    )
    assert body(said) == {
        "client_id": "a",
        "user_id": "ü-1",
        "user_properties": {
            "plan": {"value": "pro"},
            "age": {"value": 7},
            "vip": {"value": "false"},
        },
        "consent": {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"},
        "ip_override": "1.2.3.4",
        "user_agent": "Mozilla/5.0",
        "events": [
            {
                "name": "Video_Played_HD",
                "timestamp_micros": MICROS,
                "params": {
                    "page_location": "https://x.de/p?q=1",
                    "page_title": "Päge",
                    "page_referrer": "https://y.de/",
                    "Position_s": 1.5,
                    "auto_play": "true",
                    "größe": "x" * 100,
                    "hidden": 1,
                    "nd": 2,
                    "n" * 40: 1,
                    "session_id": 1767000000,
                    "engagement_time_msec": 2500,
                },
            }
        ],
    }


def test_page() -> None:
    """A page is a view of what its properties say, or else its context; the rest goes along."""
    said = mapped(
        type="page",
        name="Home",
        properties={"url": "https://x.de/", "category": "c", "name": "Home"},
        context={"page": PAGE},
    )
    assert sent(said)["name"] == "page_view"
    assert params(said) == {
        "page_location": "https://x.de/",
        "page_title": "Päge",
        "page_referrer": "https://y.de/",
        "category": "c",
        "name": "Home",
        "engagement_time_msec": 1,
    }


def test_minimal_page() -> None:
    """A page that has only a name has it as its title; one that has none is a view all the same."""
    assert params(mapped(type="page", name="Home"))["page_title"] == "Home"
    assert sent(mapped(type="page")) == {
        "name": "page_view",
        "timestamp_micros": MICROS,
        "params": {"engagement_time_msec": 1},
    }


def test_identify() -> None:
    """An identify sets user properties, none of which tells who the user is."""
    traits = {
        "email": "a@b.de",
        "First Name": "Ann",
        "last_name": "Lee",
        "name": "Ann Lee",
        "phone": "+49",
        "address": {"city": "Bonn"},
        "birthday": "1990-01-01",
        "plan": "p" * 40,
        "a_trait_with_a_name_that_is_long": 1,
        "user_id": "u",
        "google_id": "g",
    }
    said = body(mapped(type="identify", userId="u", traits=traits))
    assert said["user_properties"] == {
        "plan": {"value": "p" * 36},
        "a_trait_with_a_name_that": {"value": 1},
    }
    assert said["events"][0]["name"] == "identify"
    assert body(mapped(type="identify", userId="u"))["user_id"] == "u"


def test_too_many_user_properties() -> None:
    """Of more than 25 traits the first 25 by their names go along, however they are ordered."""
    for numbers in (range(40), range(39, -1, -1)):
        said = body(mapped(type="identify", userId="u", traits={f"t{n:02}": n for n in numbers}))
        assert list(said["user_properties"]) == [f"t{n:02}" for n in range(25)]


def test_too_many_parameters() -> None:
    """Of more properties than parameters, the first by their names go along, in any order."""
    for numbers in (range(40), range(39, -1, -1)):
        given = {f"p{n:02}": n for n in numbers}
        said = params(mapped(type="track", event="Hit", properties=given))
        assert len(said) <= 25
        assert list(said)[:23] == [f"p{n:02}" for n in range(23)]


def test_names_that_become_one() -> None:
    """Of properties that become one parameter the one of that very name counts, in any order."""
    given = {"plan name": 1, "plan_name": 2, "plan-name": 3, "x-y": 4, "x y": 5}
    for properties in (given, dict(reversed(given.items()))):
        said = params(mapped(type="track", event="Hit", properties=properties))
        assert said == {"plan_name": 2, "x_y": 5, "engagement_time_msec": 1}
        said = body(mapped(type="identify", traits=properties))["user_properties"]
        assert said == {"plan_name": {"value": 2}, "x_y": {"value": 5}}


def test_group() -> None:
    """A group is joined, and its traits are parameters, not the user's properties."""
    said = mapped(type="group", groupId=12, userId="u", traits={"name": "Acme", "employees": 3})
    assert "user_properties" not in body(said)
    assert sent(said)["name"] == "join_group"
    assert params(said) == {
        "group_id": "12",
        "name": "Acme",
        "employees": 3,
        "engagement_time_msec": 1,
    }
    assert isinstance(mapped(type="group", userId="u"), Failed)


def test_screen() -> None:
    """A screen is one of an app's stream; web streams take none."""
    assert mapped(type="screen", name="Home") == Unsupported()
    options = {"Google Analytics 4": {"appInstanceId": "i" * 32}}
    said = mapped(
        APP, type="screen", name="Home", properties={"name": "Home", "x": 1}, integrations=options
    )
    assert body(said)["app_instance_id"] == "i" * 32
    assert sent(said)["name"] == "screen_view"
    assert params(said) == {"screen_name": "Home", "x": 1, "engagement_time_msec": 1}
    assert isinstance(said, Item)
    assert "firebase_app_id=1%3A2%3Aios%3A3" in said.endpoint.url
    nameless = mapped(APP, type="screen", integrations=options)
    assert params(nameless) == {"engagement_time_msec": 1}


def test_app_needs_its_instance() -> None:
    """An app's event has to bring the instance id, which nothing else can stand for."""
    said = mapped(APP, type="track", event="Hit", userId="u")
    assert isinstance(said, Failed)
    assert "appInstanceId" in said.reason


@pytest.mark.parametrize("kind", ["alias", "other", None, 5])
def test_other_types(kind: object) -> None:
    """Users cannot be merged; what is no type of the spec is unsupported."""
    assert mapped(type=kind, userId="u", previousId="p") == Unsupported()


def test_client_id() -> None:
    """The client is the one the event's options name, else the anonymous id, else the user's."""
    named = mapped(
        type="track", event="Hit", integrations={"google analytics": {"clientId": "12.34"}}
    )
    assert body(named)["client_id"] == "12.34"
    assert body(mapped(type="page"))["client_id"] == "a"
    assert body(mapped(type="page", anonymousId=None, userId=7))["client_id"] == "7"
    assert isinstance(mapped(type="page", anonymousId=None), Failed)


def test_addresses_are_no_ids() -> None:
    """An address as user id is not sent; where there is no other id, numbers stand for it."""
    said = body(mapped(type="page", userId="a@b.de"))
    assert said["client_id"] == "a"
    assert "user_id" not in said
    first = body(mapped(type="page", userId="a@b.de", anonymousId=None))["client_id"]
    again = body(mapped(type="page", userId="a@b.de", anonymousId=None))["client_id"]
    assert first == again
    assert all(0 < int(number) < 2**31 for number in first.split("."))
    assert first != body(mapped(type="page", userId="c@b.de", anonymousId=None))["client_id"]


def test_events_of_one_user_share_a_request() -> None:
    """Events share an endpoint, and so a request, where all is equal that is said of both."""

    def of(**fields: Any) -> int:  # Any: JSON
        said = mapped(type="track", event="Hit", **fields)
        assert isinstance(said, Item)
        return id(said.endpoint)

    assert of(properties={"n": 1}) == of(properties={"n": 2})
    assert of() != of(anonymousId="b")
    assert of() != of(userId="u")
    assert of() != of(context={"ip": "1.2.3.4"})
    assert of() != of(context={"traits": {"plan": "pro"}})


@pytest.mark.parametrize(
    ("timestamp", "micros"),
    [
        ("2026-01-02T03:04:05.678Z", MICROS),
        ("2026-01-02T04:04:05.678901+01:00", MICROS + 901),
        ("2026-01-02T03:04:05.678", MICROS),
        (1767323045678, MICROS),
        (1767323045.5, 1767323045500000),
        ("2025-12-31T00:00:00Z", 1767139200000000),
        ("2026-01-03T00:00:01Z", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("yesterday", None),
        (None, None),
        ([], None),
    ],
)
def test_dates(timestamp: object, micros: int | None) -> None:
    """A time in any form is microseconds; one in the future or none at all is left to Google."""
    said = sent(mapped(type="track", event="Hit", timestamp=timestamp))
    assert said.get("timestamp_micros") == micros


@pytest.mark.parametrize(
    "timestamp", ["2025-12-30T23:59:59Z", 0, "0001-01-01T00:00:00+14:00", -1e10]
)
def test_too_old(timestamp: object) -> None:
    """What is older than 72 hours fails, since Google would date it anew."""
    said = mapped(type="track", event="Hit", timestamp=timestamp)
    assert isinstance(said, Failed)
    assert "72 hours" in said.reason


@pytest.mark.parametrize(
    "name", ["session_start", "error", "Ad Click", "firebase_x", "ga_x", "google_x", "screen_view"]
)
def test_reserved_events(name: str) -> None:
    """An event of a reserved name fails, since Google would drop it without a word."""
    said = mapped(type="track", event=name.lower())
    assert isinstance(said, Failed)
    assert "reserves" in said.reason


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("add_to_cart", "add_to_cart"),
        ("Signed  Up!", "sign_up"),
        ("Clicked: 50% off", "Clicked_50_off"),
        ("  _1st visit ", "st_visit"),
        ("注文", "注文"),
        ("x" * 60, "x" * 40),
        (f"{'x' * 39} yz", "x" * 39),
    ],
)
def test_event_names(name: str, event: str) -> None:
    """Names become letters, digits and underscores, a letter first, at most 40."""
    assert sent(mapped(type="track", event=name))["name"] == event


@pytest.mark.parametrize("name", [None, "", 5, [], "123", "🎬", "  "])
def test_events_without_a_name(name: object) -> None:
    """A track without a name, or one without a letter in it, has failed."""
    assert isinstance(mapped(type="track", event=name), Failed)


def test_longer_parameters() -> None:
    """Addresses and titles of pages may be longer than other values, and are cut at their own."""
    long = {"url": "u" * 2000, "title": "t" * 2000, "referrer": "r" * 2000}
    said = params(mapped(type="page", properties=long))
    assert [len(said[f"page_{key}"]) for key in ("location", "title", "referrer")] == [
        1000,
        300,
        420,
    ]


@pytest.mark.parametrize(
    ("session", "sent_as"),
    [
        (1767000000, 1767000000),
        ("1767000000", 1767000000),
        ("9" * 5000, None),
        ("0", None),
        (-1, None),
        (True, None),
        ("abc", None),
        ([], None),
        (None, None),
    ],
)
def test_session(session: object, sent_as: object) -> None:
    """A session's id is a positive number, of the options, the properties or the context."""
    for fields in (
        {"integrations": {"GA4": {"sessionId": session}}},
        {"properties": {"session_id": session}},
        {"context": {"sessionId": session}},
    ):
        said = params(mapped(type="track", event="Hit", **fields))
        assert said.get("session_id") == sent_as


def test_consent() -> None:
    """Consent is the settings', unless the event says otherwise; what is unclear says nothing."""
    stream = Stream("https://www.google-analytics.com", "G-1", "s")
    denied = Mapper(stream, {"ad_user_data": "DENIED"})
    assert body(mapped(denied, type="page"))["consent"] == {"ad_user_data": "DENIED"}
    context = {"consent": {"ad_user_data": "GRANTED", "ad_personalization": "maybe"}}
    assert body(mapped(denied, type="page", context=context))["consent"] == {
        "ad_user_data": "GRANTED"
    }
    options = {"GA4": {"consent": {"adUserData": False}}}
    said = body(mapped(type="page", context=context, integrations=options))
    assert said["consent"] == {"ad_user_data": "DENIED"}
    assert "consent" not in body(mapped(type="page", context={"consent": "all"}))


@pytest.mark.parametrize("value", [None, 5, "x", [], [1], True])
def test_objects_of_the_wrong_type(value: object) -> None:
    """What should be an object and is none counts for nothing."""
    fields = ("properties", "traits", "context", "integrations")
    odd: dict[str, Any] = dict.fromkeys(fields, value)  # Any: JSON
    said = mapped(type="track", event="Hit", **odd)
    assert params(said) == {"engagement_time_msec": 1}


KEYS = st.sampled_from(
    [
        *("products", "price", "quantity", "total", "tax", "currency", "revenue", "product_id"),
        *("name", "page", "url", "sessionId", "consent", "ad_user_data", "GA4", "clientId"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["Order Completed", "Product Added", "2026-01-02T00:00:00Z", "1e999", "$5"]),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), below, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["track", "page", "screen", "identify", "group", "alias", "x"]),
    st.sampled_from(["Order Completed", "Product Added", "Products Searched", "Hit"]) | JSON,
    st.dictionaries(
        st.sampled_from(
            [
                *("properties", "traits", "context", "integrations", "userId", "anonymousId"),
                *("timestamp", "groupId", "name", "messageId"),
            ]
        ),
        JSON,
    ),
)
def test_no_event_is_too_odd(kind: str, name: Any, fields: dict[str, Any]) -> None:  # Any: JSON
    """Whatever is in an event, it becomes a request within the limits, or an outcome."""
    for mapper in (WEB, APP):
        said = mapper.item(Event(json.dumps({"type": kind, "event": name, **fields}).encode()), NOW)
        if isinstance(said, Item):
            event = sent(said)
            assert len(event["params"]) <= 25
            assert all(len(key) <= 40 for key in event["params"])
            assert None not in event["params"].values()
        else:
            assert isinstance(said, (Failed, Unsupported))
