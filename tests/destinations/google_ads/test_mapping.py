"""What events become in Google Ads."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.google_ads import fields
from destinations.google_ads.identifiers import normal_email, normal_phone
from destinations.google_ads.mapping import Adjustment, PingMapper, UploadMapper
from destinations.google_ads.requests import (
    Account,
    authorized,
    ping,
    ping_endpoint,
    token_request,
)
from destinations.kit import Event, Failed, Item, Outcome, Part, Request, Unsupported
from destinations.kit.tokens import Token

API = "https://googleads.googleapis.com"
ACCOUNT = Account(
    base_url=API,
    api_version="v26",
    customer_id="1234567890",
    developer_token="dev",
    login_customer_id="9876543210",
)
ACTIONS = {"Order Completed": "111", "Signed Up": "222"}
UPLOAD = UploadMapper(ACCOUNT, ACTIONS)
CLICKS = UploadMapper(msgspec.structs.replace(ACCOUNT, identified=False), ACTIONS)
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
    assert said.endpoint.url.endswith(":uploadClickConversions")
    return json.loads(said.body)


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_upload_call() -> None:
    """Conversions go to the account's upload, with partial failures, as the manager's user."""
    request = ACCOUNT.clicks().request([b"{}", b"{}"])
    assert request == Request(
        f"{API}/v26/customers/1234567890:uploadClickConversions",
        b'{"partialFailure":true,"conversions":[{},{}]}',
        {
            "Content-Type": "application/json",
            "developer-token": "dev",
            "login-customer-id": "9876543210",
        },
    )
    assert ACCOUNT.clicks().max_items == 2000
    bare = Account(base_url=API, api_version="v26", customer_id="1")
    assert bare.clicks().headers == {"Content-Type": "application/json"}


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
        ({"properties": {"GCLID": "p"}}, {"gclid": "p"}),
        ({"context": {"campaign": {"Gbraid": "c"}}}, {"gbraid": "c"}),
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


HASH = "AB" * 32


@pytest.mark.parametrize(
    "fields",
    [
        {"properties": {"email": HASH}},
        {"properties": {"Email": f" {HASH} "}},
        {"traits": {"email": HASH}},
        {"context": {"traits": {"email": HASH}}},
        {"properties": {"email": HASH.lower()}},
    ],
)
def test_hashed_address(fields: dict[str, Any]) -> None:
    """An address that is hashed already is passed through, and is enough for a conversion."""
    said = conversion(mapped(**SIGNED_UP, **fields))
    assert said["userIdentifiers"] == [{"hashedEmail": HASH.lower()}]


@pytest.mark.parametrize("place", ["properties", "traits"])
def test_hashed_phone_number(place: str) -> None:
    """So is a phone number that is hashed already."""
    fields: dict[str, Any] = {place: {"phone": HASH}}
    said = conversion(mapped(**SIGNED_UP, **fields))
    assert said["userIdentifiers"] == [{"hashedPhoneNumber": HASH.lower()}]


@pytest.mark.parametrize("almost", ["AB" * 31, "AB" * 33, "xy" * 32, f"{'AB' * 31} a"])
def test_almost_hashed(almost: str) -> None:
    """What only looks like a hash is neither address nor number."""
    for key in ("email", "phone"):
        assert mapped(**SIGNED_UP, properties={key: almost}) == Unsupported()


@pytest.mark.parametrize(
    ("number", "normal"),
    [
        ("+1 (800) 555-0102", "+18005550102"),
        ("0049 228 1234", "+492281234"),
        ("00 49 228 1234", "+492281234"),
        ("+49 (0) 228 1234", "+492281234"),
        ("tel:+49-228-1234", "+492281234"),
        ("+1 800 555 0102 ext. 7", "+18005550102"),
        ("+18005550102x7", "+18005550102"),
        ("+1 800 FLOWERS", None),
        ("0228 1234", None),
        ("8005550102", None),
        ("+", None),
        ("+0 228 1234567", None),
        ("+12345", None),
        ("+1234567890123456", None),
        ("+49 228 1234" + " " * 100 + "5", None),
    ],
)
def test_phone_numbers(number: str, normal: str | None) -> None:
    """Phone numbers are E.164; one without its country is none."""
    assert normal_phone(number) == normal
    if normal is not None:
        assert normal_phone(number, "44") == normal  # the number's own country counts


@pytest.mark.parametrize(
    ("number", "code", "normal"),
    [
        ("555 123 4567", "1", "+15551234567"),
        ("(555) 123-4567", "1", "+15551234567"),
        ("1-555-123-4567", "1", "+15551234567"),
        ("0228 1234", "49", "+492281234"),
        ("228 1234", "49", "+492281234"),
        ("06 1234 5678", "39", "+390612345678"),
        ("8 916 123-45-67", "7", "+79161234567"),
        ("06 1 234 5678", "36", "+3612345678"),
        ("", "49", None),
        ("n/a", "49", None),
        ("123", "49", None),
    ],
)
def test_national_phone_numbers(number: str, code: str, normal: str | None) -> None:
    """A number without its country is of the one that settings name."""
    assert normal_phone(number, code) == normal


@pytest.mark.parametrize("number", ["555 123 4567", "5551234567", 5551234567])
@pytest.mark.parametrize("place", ["properties", "traits"])
def test_default_country(place: str, number: object) -> None:
    """With a default country such a number is sent, written as text or as a number."""
    account = msgspec.structs.replace(ACCOUNT, country_code="1")
    fields: dict[str, Any] = {**SIGNED_UP, place: {"phone": number}}
    said = conversion(mapped(UploadMapper(account, ACTIONS), **fields))
    assert said["userIdentifiers"] == [{"hashedPhoneNumber": hashed("+15551234567")}]
    assert mapped(**fields) == Unsupported()


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


@pytest.mark.parametrize(
    ("properties", "items"),
    [
        (
            {"products": [{"product_id": "p", "sku": "s", "quantity": 2, "price": 12.5}]},
            [{"productId": "p", "quantity": 2, "unitPrice": 12.5}],
        ),
        (
            {"products": [None, 5, {"Price": "$12.50", "Quantity": "2", "productId": 7}]},
            [{"productId": "7", "quantity": 2, "unitPrice": 12.5}],
        ),
        (
            {"items": [{"item_id": "g", "item_name": "Mug", "price": 1}]},
            [{"productId": "g", "quantity": 1, "unitPrice": 1.0}],
        ),
        ({"products": [{"sku": "s"}]}, [{"productId": "s", "quantity": 1}]),
        ({"product_id": "p", "price": 3}, [{"productId": "p", "quantity": 1, "unitPrice": 3.0}]),
        # by weight: the money is right, where the API counts pieces
        (
            {"products": [{"id": "p", "quantity": 1.5, "price": 10}]},
            [{"productId": "p", "quantity": 1, "unitPrice": 15.0}],
        ),
        ({"products": [{"name": "Mug", "price": 1}]}, None),
        ({"products": [{"id": "p", "quantity": 0}, {"id": "p", "quantity": -1}]}, None),
        ({"products": [{"id": "p", "quantity": 1e300}]}, None),
        ({"products": []}, None),
        ({}, None),
    ],
)
def test_cart(properties: dict[str, Any], items: list[Any] | None) -> None:
    """Products are the items of the cart: id, pieces and the price of one."""
    said = conversion(
        mapped(type="track", event="Order Completed", properties={**properties, "gclid": "x"})
    )
    assert said.get("cartData") == (None if items is None else {"items": items})


def test_feed_of_a_cart() -> None:
    """Merchant and feed are the event's, else the settings'; the discount is the whole cart's."""
    account = msgspec.structs.replace(
        ACCOUNT, feed={"merchantId": 5, "feedCountryCode": "US"}, product_id="sku"
    )
    products = [{"product_id": "p", "sku": "s"}, {"product_id": "q"}]
    order: dict[str, Any] = {"type": "track", "event": "Order Completed"}
    plain = {"gclid": "x", "products": products, "discount": "2.50"}
    mapper = UploadMapper(account, ACTIONS)
    items = [{"productId": "s", "quantity": 1}, {"productId": "q", "quantity": 1}]
    assert conversion(mapped(mapper, **order, properties=plain))["cartData"] == {
        "merchantId": 5,
        "feedCountryCode": "US",
        "localTransactionCost": 2.5,
        "items": items,
    }
    own = {**plain, "merchantId": "12", "feed_country_code": "DE", "feedLanguageCode": "de"}
    assert conversion(mapped(mapper, **order, properties=own))["cartData"] == {
        "merchantId": 12,
        "feedCountryCode": "DE",
        "feedLanguageCode": "de",
        "localTransactionCost": 2.5,
        "items": items,
    }
    without = UploadMapper(msgspec.structs.replace(ACCOUNT, product_id=None), ACTIONS)
    assert "cartData" not in conversion(mapped(without, **order, properties=own))


def with_mapping(custom_events: Any = "all", **mapping: Any) -> UploadMapper:  # Any: settings
    return UploadMapper(ACCOUNT, ACTIONS, mapping=mapping, custom_events=custom_events)


def test_mapping() -> None:
    """Settings take any field from anywhere, and what Google could not read is left out."""
    mapper = with_mapping(
        conversionDateTime="properties.closed_at",
        conversionValue="properties.margin",
        orderId="",
        **{
            "gclid": "properties.click.id",
            "externalAttributionData.externalAttributionCredit": "number(properties.credit)",
            "externalAttributionData.externalAttributionModel": "'last'",
            "customVariables.77": "properties.plan",
            "userIpAddress": "@ip",
            "sessionAttributes.gad_source": "properties.gad_source",
            "consent.adUserData": "properties.agreed",
            "userIdentifiers.hashedEmail": "traits.work_email",
        },
    )
    properties = {
        "closed_at": 1767323045,
        "margin": "3.50",
        "order_id": "o",
        "currency": "EUR",
        "click": {"id": "Cj"},
        "credit": "0.3",
        "plan": 5,
        "gad_source": 1,
        "agreed": True,
    }
    people = {"traits": {"workEmail": "a@b.de"}, "ip": "192.0.2.1"}
    assert conversion(mapped(mapper, **SIGNED_UP, properties=properties, context=people)) == {
        "conversionAction": "customers/1234567890/conversionActions/222",
        "conversionDateTime": "2026-01-02 03:04:05+00:00",
        "gclid": "Cj",
        "userIdentifiers": [{"hashedEmail": hashed("a@b.de")}],
        "conversionValue": 3.5,
        "currencyCode": "EUR",
        "externalAttributionData": {
            "externalAttributionCredit": 0.3,
            "externalAttributionModel": "last",
        },
        "customVariables": [
            {
                "conversionCustomVariable": "customers/1234567890/conversionCustomVariables/77",
                "value": "5",
            }
        ],
        "userIpAddress": "192.0.2.1",
        "sessionAttributesKeyValuePairs": {
            "keyValuePairs": [{"sessionAttributeKey": "gad_source", "sessionAttributeValue": "1"}]
        },
        "consent": {"adUserData": "GRANTED"},
    }
    odd: dict[str, Any] = {
        "closed_at": None,
        "margin": "much",
        "click": {"id": []},
        "credit": "all",
    }
    assert conversion(mapped(mapper, **SIGNED_UP, properties=odd, context=people)) == {
        "conversionAction": "customers/1234567890/conversionActions/222",
        "conversionDateTime": "2026-01-02 03:04:05+00:00",
        "userIdentifiers": [{"hashedEmail": hashed("a@b.de")}],
        "externalAttributionData": {"externalAttributionModel": "last"},
        "userIpAddress": "192.0.2.1",
    }


def test_session_is_enough() -> None:
    """Session attributes, in Google's own encoding too, make a conversion without a click's id."""
    pair = with_mapping(**{"sessionAttributes.gad_source": "properties.gad_source"})
    assert isinstance(mapped(pair, **SIGNED_UP, properties={"gad_source": "1"}), Item)
    assert mapped(pair, **SIGNED_UP) == Unsupported()
    encoded = with_mapping(
        sessionAttributesEncoded="properties.session",
        **{"sessionAttributes.gad_source": "properties.gad_source"},
    )
    said = conversion(
        mapped(encoded, **SIGNED_UP, properties={"session": "e30=", "gad_source": "1"})
    )
    assert said["sessionAttributesEncoded"] == "e30="
    assert "sessionAttributesKeyValuePairs" not in said


def test_custom_events() -> None:
    """Which fields a conversion of the user's own name gets is a setting; it always has a time."""
    order = {"gclid": "x", "total": 5, "currency": "EUR", "order_id": "o"}
    own = UploadMapper(ACCOUNT, {"Quote Sent": "1", "Order Completed": "2"}, custom_events="none")
    for name, count in (("Quote Sent", 0), ("Order Completed", 3)):
        said = conversion(mapped(own, type="track", event=name, properties=order))
        assert said["conversionDateTime"] == "2026-01-02 03:04:05+00:00"
        assert len(said.keys() & {"conversionValue", "currencyCode", "orderId"}) == count


def test_default_consent() -> None:
    """Where the event says nothing of consent, the settings do."""
    denied = UploadMapper(
        msgspec.structs.replace(ACCOUNT, consent={"adUserData": "DENIED"}), ACTIONS
    )
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


CALLED: dict[str, Any] = {"type": "track", "event": "Called"}
CALLS = UploadMapper(ACCOUNT, {}, calls={"Called": "333"}, mapping={"gclid": "'not of calls'"})


def test_call() -> None:
    """A call's conversion has the caller's number, as it is, and when the call began."""
    said = mapped(
        CALLS,
        **CALLED,
        properties={
            "phone": "+1 555 123 4567",
            "callStartTime": "2026-01-02T03:00:00Z",
            "total": "12",
            "currency": "usd",
            "order_id": "o",
        },
        context={"consent": {"adUserData": True}},
    )
    assert isinstance(said, Item)
    assert said.endpoint.request([said.body]).url == (
        f"{API}/v26/customers/1234567890:uploadCallConversions"
    )
    assert json.loads(said.body) == {
        "conversionAction": "customers/1234567890/conversionActions/333",
        "callerId": "+15551234567",
        "callStartDateTime": "2026-01-02 03:00:00+00:00",
        "conversionDateTime": "2026-01-02 03:04:05+00:00",
        "conversionValue": 12.0,
        "currencyCode": "USD",
        "consent": {"adUserData": "GRANTED"},
    }


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"call_start_time": 1767323045}, "caller"),
        ({"phone": "555 123 4567", "call_start_time": 1767323045}, "caller"),
        ({"phone": HASH, "call_start_time": 1767323045}, "caller"),
        ({"phone": "+15551234567"}, "when the call began"),
        ({"phone": "+15551234567", "call_start_time": "soon"}, "when the call began"),
    ],
)
def test_no_call(properties: dict[str, Any], reason: str) -> None:
    """Without number or beginning Google could not find the call: the event says so."""
    said = mapped(CALLS, **CALLED, properties=properties)
    assert isinstance(said, Failed)
    assert reason in said.reason


ADJUSTED = UploadMapper(
    ACCOUNT,
    {},
    adjustments={
        "Order Refunded": Adjustment("444", "RETRACTION"),
        "Order Updated": Adjustment("444", "RESTATEMENT"),
        "Signed Up": Adjustment("555", "ENHANCEMENT"),
    },
    mapping={"conversionEnvironment": "'WEB'"},
)


def adjusted(event: str, **fields: Any) -> Any:  # Any: JSON
    said = mapped(ADJUSTED, type="track", event=event, **fields)
    if not isinstance(said, Item):
        return said
    request = said.endpoint.request([said.body])
    assert request.url == f"{API}/v26/customers/1234567890:uploadConversionAdjustments"
    body = json.loads(request.body)
    assert body.keys() == {"partialFailure", "conversionAdjustments"}
    return body["conversionAdjustments"][0]


def test_adjustments() -> None:
    """A refund takes a conversion back, another value restates it, a user enhances it."""
    action = "customers/1234567890/conversionActions/"
    at = "2026-01-02 03:04:05+00:00"
    order = {"order_id": "o", "total": "70", "currency": "EUR", "email": "a@b.de"}
    assert adjusted("Order Refunded", properties={**order, "gclid": "x"}) == {
        "conversionAction": f"{action}444",
        "adjustmentType": "RETRACTION",
        "adjustmentDateTime": at,
        "orderId": "o",
    }
    assert adjusted("Order Updated", properties=order) == {
        "conversionAction": f"{action}444",
        "adjustmentType": "RESTATEMENT",
        "adjustmentDateTime": at,
        "orderId": "o",
        "restatementValue": {"adjustedValue": 70.0, "currencyCode": "EUR"},
    }
    assert adjusted("Signed Up", properties=order, context={"userAgent": "Mozilla/5.0"}) == {
        "conversionAction": f"{action}555",
        "adjustmentType": "ENHANCEMENT",
        "adjustmentDateTime": at,
        "orderId": "o",
        "userIdentifiers": [{"hashedEmail": hashed("a@b.de")}],
        "userAgent": "Mozilla/5.0",
    }
    assert adjusted("Signed Up", properties={"order_id": "o"}) == Unsupported()


def test_address_of_an_enhancement() -> None:
    """Name, country and postal code together enhance as well: names and street hashed."""
    person = {
        "firstName": " Ann ",
        "lastName": "LEE",
        "address": {"street": "Via 1", "city": "Rome", "postalCode": 184, "country": "it"},
    }
    order: dict[str, Any] = {"properties": {"order_id": "o"}}
    said = adjusted("Signed Up", **order, context={"traits": person})
    assert said["userIdentifiers"] == [
        {
            "addressInfo": {
                "hashedFirstName": hashed("ann"),
                "hashedLastName": hashed("lee"),
                "hashedStreetAddress": hashed("via 1"),
                "city": "Rome",
                "postalCode": "184",
                "countryCode": "IT",
            }
        }
    ]
    for missing in ("lastName", "address"):
        less = {key: value for key, value in person.items() if key != missing}
        assert adjusted("Signed Up", **order, context={"traits": less}) == Unsupported()


def test_adjustment_by_click() -> None:
    """An order without an id is told by its click and the time of its conversion."""
    click = {"gclid": "x", "conversion_date_time": "2026-01-01T00:00:00Z"}
    assert adjusted("Order Refunded", properties=click)["gclidDateTimePair"] == {
        "gclid": "x",
        "conversionDateTime": "2026-01-01 00:00:00+00:00",
    }
    for event, properties in (
        ("Order Refunded", {"gclid": "x"}),
        ("Order Refunded", {"wbraid": "x", "conversion_date_time": "2026-01-01T00:00:00Z"}),
        ("Signed Up", {**click, "email": "a@b.de"}),
    ):
        said = adjusted(event, properties=properties)
        assert isinstance(said, Failed)
        assert "order_id" in said.reason


def test_a_refund_is_no_new_value() -> None:
    """What a refund gave back is never taken for what the order is worth now."""
    refund = UploadMapper(
        ACCOUNT, {}, adjustments={"Order Refunded": Adjustment("4", "RESTATEMENT")}
    )
    properties = {"order_id": "o", "total": 12.5, "currency": "EUR"}
    said = mapped(refund, type="track", event="Order Refunded", properties=properties)
    assert said == Failed("the event does not say what the order is worth now")
    left = {**properties, "adjusted_value": "45.50"}
    item = mapped(refund, type="track", event="Order Refunded", properties=left)
    assert isinstance(item, Item)
    assert json.loads(item.body)["restatementValue"] == {
        "adjustedValue": 45.5,
        "currencyCode": "EUR",
    }


@pytest.mark.parametrize("mapper", [UPLOAD, PING])
@pytest.mark.parametrize("kind", ["identify", "page", "screen", "group", "alias", None, 5])
def test_other_types(mapper: UploadMapper | PingMapper, kind: object) -> None:
    """Only tracks are conversions."""
    assert mapped(mapper, type=kind, event="Signed Up", **CLICK) == Unsupported()


@pytest.mark.parametrize("name", ["signed_up", "signedUp", "SIGNED UP", " Signed Up "])
@pytest.mark.parametrize("mapper", [UPLOAD, PING])
def test_names_in_any_style(mapper: UploadMapper | PingMapper, name: str) -> None:
    """An event's name is that of the settings in any case style."""
    assert mapped(mapper, type="track", event=name, **CLICK) == mapped(mapper, **SIGNED_UP, **CLICK)


def test_exact_names_first() -> None:
    """Of two names that are one in plain form, the event's own spelling counts."""
    both = UploadMapper(ACCOUNT, {"Signed Up": "1", "signed_up": "2"})
    for name, action in (("Signed Up", "1"), ("signed_up", "2"), ("signedUp", "1")):
        said = conversion(mapped(both, type="track", event=name, **CLICK))
        assert said["conversionAction"].endswith(f"/{action}")


@pytest.mark.parametrize("mapper", [UPLOAD, PING])
@pytest.mark.parametrize("name", ["Other", "Signed Up Twice", "", None, 5, []])
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


def test_mapping_of_a_ping() -> None:
    """A ping's fields are mapped as well, under the names of its query."""
    mapper = PingMapper(
        ping_endpoint("https://x.example", "42"),
        {"Signed Up": "a"},
        {"value": "properties.margin", "oid": "", "uaa": "traits.plan"},
    )
    said = mapped(
        mapper,
        **SIGNED_UP,
        traits={"plan": "p ü"},
        properties={"margin": "1.5", "order_id": "o", "revenue": 9},
    )
    assert isinstance(said, Item)
    assert said.body == b"label=a&value=1.5&uaa=p+%C3%BC&guid=ON&script=0"


def test_tables_of_the_page() -> None:
    """The page has the fields of calls, adjustments and pings as the code has them."""
    page = (Path(fields.__file__).parent / "README.md").read_text()
    for table in (fields.CALL, fields.ADJUSTMENT, fields.PING):
        assert "\n".join(table.markdown()[1:]) in page


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


#: Paths that settings might map any value of an event by.
ODD = with_mapping(
    userIdentifiers="traits",
    cartData="properties",
    customVariables="properties",
    sessionAttributes="traits",
    gclid="properties.gclid",
    orderId="properties.id",
    consent="properties",
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(FIELDS, JSON))
def test_no_event_is_too_odd(fields: dict[str, Any]) -> None:  # Any: JSON
    """Whatever is in an event, it becomes a conversion or an outcome."""
    event = Event(json.dumps({**SIGNED_UP, **fields}).encode())
    for mapper in (UPLOAD, CLICKS, PING, ODD, ADJUSTED):
        said = mapper.item(event)
        assert isinstance(said, (Item, Failed, Unsupported))
        if isinstance(said, Item) and mapper is not PING:
            assert None not in json.loads(said.body).values()
