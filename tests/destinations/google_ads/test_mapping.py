"""What events become in Google Ads."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.google_ads.identifiers import normal_email, normal_phone
from destinations.google_ads.mapping import (
    PingMapper,
    UploadMapper,
    authorized,
    ping,
    ping_endpoint,
    token_request,
    upload_endpoint,
)
from destinations.kit import Event, Failed, Item, Outcome, Part, Request, Unsupported
from destinations.kit.tokens import Token

API = "https://googleads.googleapis.com"
ENDPOINT = upload_endpoint(API, "v26", "1234567890", "dev", "9876543210")
ACTIONS = {"Order Completed": "111", "Signed Up": "222"}
UPLOAD = UploadMapper(ENDPOINT, "1234567890", ACTIONS, {}, identified=True)
CLICKS = UploadMapper(ENDPOINT, "1234567890", ACTIONS, {}, identified=False)
PING = PingMapper(ping_endpoint("https://www.googleadservices.com", "42"), {"Signed Up": "a_B-1"})
AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}
# Any: JSON
SIGNED_UP: dict[str, Any] = {"type": "track", "event": "Signed Up"}
CLICK: dict[str, Any] = {"properties": {"gclid": "Cj0"}}

Said = Item | Outcome


def mapped(mapper: UploadMapper | PingMapper = UPLOAD, **fields: Any) -> Said:  # Any: JSON
    return mapper.item(Event(json.dumps({**AT, **fields}).encode()))


def conversion(said: Said) -> Any:  # Any: JSON
    assert isinstance(said, Item)
    assert said.endpoint is ENDPOINT
    return json.loads(said.body)


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_upload_call() -> None:
    """Conversions go to the account's upload, with partial failures, as the manager's user."""
    request = ENDPOINT.request([b"{}", b"{}"])
    assert request == Request(
        f"{API}/v26/customers/1234567890:uploadClickConversions",
        b'{"partialFailure":true,"conversions":[{},{}]}',
        {
            "Content-Type": "application/json",
            "developer-token": "dev",
            "login-customer-id": "9876543210",
        },
    )
    assert ENDPOINT.max_items == 2000
    bare = upload_endpoint(API, "v26", "1234567890", None, None)
    assert bare.headers == {"Content-Type": "application/json"}


def test_minimal_conversion() -> None:
    """A click's id, an action and a time are a conversion."""
    assert conversion(mapped(**SIGNED_UP, **CLICK)) == {
        "conversionAction": "customers/1234567890/conversionActions/222",
        "conversionDateTime": "2026-01-02 03:04:05+00:00",
        "gclid": "Cj0",
    }


def test_full_conversion() -> None:
    """An order has its value, currency and id, its user's hashes, and what the user agreed to."""
    said = mapped(
        type="track",
        event="Order Completed",
        userId="u",
        properties={
            "gclid": " Cj0 ",
            "gbraid": "other",
            "order_id": 50314,
            "revenue": "25.5",
            "currency": "eur",
            "products": [{"name": "Shirt"}],
            "unknown": {"x": "ü"},
        },
        context={
            "traits": {"email": " Ann.Lee@Gmail.com ", "phone": "+49 (0228) 12-34"},
            "consent": {"ad_user_data": "granted", "adPersonalization": False},
        },
    )
    assert conversion(said) == {
        "conversionAction": "customers/1234567890/conversionActions/111",
        "conversionDateTime": "2026-01-02 03:04:05+00:00",
        "gclid": "Cj0",
        "userIdentifiers": [
            {"hashedEmail": hashed("annlee@gmail.com")},
            {"hashedPhoneNumber": hashed("+4902281234")},
        ],
        "conversionValue": 25.5,
        "currencyCode": "EUR",
        "orderId": "50314",
        "consent": {"adUserData": "GRANTED", "adPersonalization": "DENIED"},
    }


@pytest.mark.parametrize(
    ("fields", "click"),
    [
        ({"properties": {"gclid": "p"}}, {"gclid": "p"}),
        ({"properties": {"gbraid": "g", "wbraid": "w"}}, {"gbraid": "g"}),
        ({"context": {"wbraid": "w"}}, {"wbraid": "w"}),
        ({"context": {"campaign": {"gclid": "c"}}}, {"gclid": "c"}),
        ({"context": {"traits": {"gclid": "t"}}}, {"gclid": "t"}),
        ({"integrations": {"Google Ads": {"gclid": "o"}}, **CLICK}, {"gclid": "o"}),
        ({"context": {"page": {"url": "https://x/?a=1&gclid=u%2B1#top"}}}, {"gclid": "u+1"}),
        ({"context": {"page": {"search": "?wbraid=s"}}}, {"wbraid": "s"}),
        ({"properties": {"url": "https://x/?gbraid=b"}}, {"gbraid": "b"}),
    ],
)
def test_click_ids(fields: dict[str, Any], click: dict[str, str]) -> None:
    """One id of a click is sent, from wherever it is, `gclid` before the others."""
    said = conversion(mapped(**SIGNED_UP, **fields))
    assert {key: said[key] for key in ("gclid", "gbraid", "wbraid") if key in said} == click


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"properties": {"gclid": " "}},
        {"properties": {"gclid": 5}},
        {"properties": {"gclid": ["x"]}},
        {"properties": {"url": "gclid=x"}},
        {"context": {"page": "gclid=x"}},
        {"context": {"page": {"url": 5, "search": "?xgclid=1"}}},
        {"context": {"page": {"url": f"https://x/?gclid=x{'&a=1' * 300}"}}},
    ],
)
def test_no_click(place: dict[str, Any]) -> None:
    """Without a click's id, and a user to match, no ad can have led to it."""
    assert mapped(**SIGNED_UP, **place) == Unsupported()


def test_user_without_a_click() -> None:
    """A user who may be matched is enough, where settings allow to send hashes."""
    traits: dict[str, Any] = {"context": {"traits": {"email": "a@b.de"}}}
    said = conversion(mapped(**SIGNED_UP, **traits))
    assert said["userIdentifiers"] == [{"hashedEmail": hashed("a@b.de")}]
    assert mapped(CLICKS, **SIGNED_UP, **traits) == Unsupported()
    assert "userIdentifiers" not in conversion(mapped(CLICKS, **SIGNED_UP, **traits, **CLICK))


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        (" Ann@Example.COM ", "ann@example.com"),
        ("a.n.n@gmail.com", "ann@gmail.com"),
        ("a.n.n@googlemail.com", "ann@googlemail.com"),
        ("a.n+x@example.com", "a.n+x@example.com"),
        ("ann", None),
        ("@gmail.com", None),
        ("ann@", None),
    ],
)
def test_addresses(address: str, normal: str | None) -> None:
    """Addresses are in small letters, and of Gmail's without dots, before they are hashed."""
    assert normal_email(address) == normal


@pytest.mark.parametrize(
    ("number", "normal"),
    [
        ("+1 (800) 555-0102", "+18005550102"),
        ("0049 228 1234", "+492281234"),
        ("0228 1234", None),
        ("8005550102", None),
        ("+", None),
        ("+0 228 1234567", None),
        ("+12345", None),
        ("+1234567890123456", None),
    ],
)
def test_phone_numbers(number: str, normal: str | None) -> None:
    """Phone numbers are E.164; one without its country is none."""
    assert normal_phone(number) == normal


@pytest.mark.parametrize(
    ("timestamp", "sent"),
    [
        ("2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05+00:00"),
        ("2026-01-02T03:04:05-08:00", "2026-01-02 11:04:05+00:00"),
        ("2026-01-02", "2026-01-02 00:00:00+00:00"),
        (1767323045678, "2026-01-02 03:04:05+00:00"),
        (1767323045, "2026-01-02 03:04:05+00:00"),
    ],
)
def test_dates(timestamp: object, sent: str) -> None:
    """A time in any form is the API's form of it, with its offset."""
    said = conversion(mapped(**{**SIGNED_UP, **CLICK, "timestamp": timestamp}))
    assert said["conversionDateTime"] == sent


@pytest.mark.parametrize("timestamp", ["soon", None, [], "0001-01-01T00:00:00+14:00"])
def test_no_date(timestamp: object) -> None:
    """Without a time it has failed, unless it is known when it was received."""
    said = mapped(**{**SIGNED_UP, **CLICK, "timestamp": timestamp})
    assert said == Failed("the event has no valid timestamp: Google Ads needs one")
    if timestamp is None:
        received = conversion(
            mapped(
                **{**SIGNED_UP, **CLICK, "timestamp": None, "receivedAt": "2026-01-02T00:00:00Z"}
            )
        )
        assert received["conversionDateTime"] == "2026-01-02 00:00:00+00:00"


@pytest.mark.parametrize(
    ("properties", "worth"),
    [
        ({"value": 5, "currency": "USD"}, {"conversionValue": 5.0, "currencyCode": "USD"}),
        ({"revenue": 0, "currency": "usd "}, {"conversionValue": 0.0, "currencyCode": "USD"}),
        ({"total": 9}, {"conversionValue": 9.0}),
        ({"revenue": 5, "currency": "points"}, {"conversionValue": 5.0}),
        ({"revenue": 5, "currency": 7}, {"conversionValue": 5.0}),
        ({"currency": "USD"}, {}),
        ({"revenue": "much", "value": [1]}, {}),
        ({"total": 80.5, "currency": "EUR"}, {"conversionValue": 80.5, "currencyCode": "EUR"}),
        ({"currency": "EUR", "Total": " 80.50 "}, {"conversionValue": 80.5, "currencyCode": "EUR"}),
        ({"total": 3, "value": 2, "revenue": 1}, {"conversionValue": 1.0}),
        ({"revenue": None, "value": "2"}, {"conversionValue": 2.0}),
        ({"value": 0}, {"conversionValue": 0.0}),
        ({"total": "1,200"}, {}),
        ({"total": "1,200.50"}, {"conversionValue": 1200.5}),
        (
            {"total": 9, "products": [{"sku": "a", "currency": "gbp"}, None]},
            {"conversionValue": 9.0, "currencyCode": "GBP"},
        ),
    ],
)
@pytest.mark.parametrize("name", ["Signed Up", "Order Completed"])
def test_worth(name: str, properties: dict[str, Any], worth: dict[str, Any]) -> None:
    """Revenue, value or total is the value, whatever the event; none is made up."""
    said = conversion(mapped(type="track", event=name, properties={"gclid": "x", **properties}))
    assert {key: said[key] for key in ("conversionValue", "currencyCode") if key in said} == worth


def test_default_consent() -> None:
    """Where the event says nothing of consent, the settings do."""
    denied = UploadMapper(ENDPOINT, "1", ACTIONS, {"adUserData": "DENIED"}, identified=False)
    assert conversion(mapped(denied, **SIGNED_UP, **CLICK))["consent"] == {"adUserData": "DENIED"}
    options = {"AdWords": {"consent": {"ad_user_data": True, "ad_personalization": "?"}}}
    said = conversion(mapped(denied, **SIGNED_UP, **CLICK, integrations=options))
    assert said["consent"] == {"adUserData": "GRANTED"}


def test_equal_conversions_keep_apart() -> None:
    """Equal orders of an action, or clicks at one time, have equal keys; others do not."""

    def key(event: str = "Signed Up", **fields: Any) -> str | None:  # Any: JSON
        said = mapped(type="track", event=event, **{**CLICK, **fields})
        assert isinstance(said, Item)
        return said.key

    assert key() == key()
    assert key() != key(event="Order Completed")
    assert key() != key(timestamp="2026-01-02T03:04:06Z")
    assert key() != key(properties={"gclid": "other"})
    order: dict[str, Any] = {"properties": {"gclid": "x", "order_id": "o"}}
    assert key(**order) == key(**order, timestamp="2026-01-02T03:04:06Z")


@pytest.mark.parametrize("mapper", [UPLOAD, PING])
@pytest.mark.parametrize("kind", ["identify", "page", "screen", "group", "alias", None, 5])
def test_other_types(mapper: UploadMapper | PingMapper, kind: object) -> None:
    """Only tracks are conversions."""
    assert mapped(mapper, type=kind, event="Signed Up", **CLICK) == Unsupported()


@pytest.mark.parametrize("mapper", [UPLOAD, PING])
@pytest.mark.parametrize("name", ["Other", "signed up", "", None, 5, []])
def test_other_events(mapper: UploadMapper | PingMapper, name: object) -> None:
    """Events that the settings do not name are none."""
    assert mapped(mapper, type="track", event=name, **CLICK) == Unsupported()


def pinged(**fields: Any) -> Request:  # Any: JSON
    said = mapped(PING, **{**SIGNED_UP, **fields})
    assert isinstance(said, Item)
    return ping(Part(said.endpoint, [said.body], [0]))


def test_ping() -> None:
    """A ping is a GET of the conversion's image, with label, value, currency and order."""
    assert pinged() == Request(
        "https://www.googleadservices.com/pagead/conversion/42/?label=a_B-1&guid=ON&script=0",
        method="GET",
    )
    full = pinged(properties={"revenue": "$27.50", "currency": "eur", "order_id": "ü &1"})
    address, _, query = full.url.partition("?")
    assert address == "https://www.googleadservices.com/pagead/conversion/42/"
    assert parse_qsl(query) == [
        ("label", "a_B-1"),
        ("value", "27.5"),
        ("currency_code", "EUR"),
        ("oid", "ü &1"),
        ("guid", "ON"),
        ("script", "0"),
    ]
    assert "value=25&" in pinged(properties={"revenue": 25.0}).url


def test_token_request() -> None:
    """A token is asked for by the refresh token, and goes into the request's header."""
    request = token_request("https://oauth2.googleapis.com", "id", "se&cret", "1//r")
    assert request.url == "https://oauth2.googleapis.com/token"
    assert dict(parse_qsl(request.body.decode())) == {
        "grant_type": "refresh_token",
        "client_id": "id",
        "client_secret": "se&cret",
        "refresh_token": "1//r",
    }
    signed = authorized(Request("https://x/", b"b", {"a": "1"}), Token("t"))
    assert signed == Request("https://x/", b"b", {"a": "1", "Authorization": "Bearer t"})


KEYS = st.sampled_from(
    [
        *("gclid", "page", "url", "search", "campaign", "email", "phone", "order_id", "id"),
        *("revenue", "value", "currency", "consent", "adUserData", "Google Ads", "traits"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["?gclid=%ff%00", "a@b.de", "+49228123456", "9999-12-31T23:59:59-14:00"]),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), below, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["properties", "traits", "context", "integrations", "userId", "timestamp", "receivedAt"]
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(FIELDS, JSON))
def test_no_event_is_too_odd(fields: dict[str, Any]) -> None:  # Any: JSON
    """Whatever is in an event, it becomes a conversion or an outcome."""
    event = Event(json.dumps({**SIGNED_UP, **fields}).encode())
    for mapper in (UPLOAD, CLICKS, PING):
        said = mapper.item(event)
        assert isinstance(said, (Item, Failed, Unsupported))
        if isinstance(said, Item) and mapper is not PING:
            assert None not in json.loads(said.body).values()
