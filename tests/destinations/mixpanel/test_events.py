"""What Mixpanel's reports need of an event: names of pages, browsers, products, fields of users."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from destinations.kit import Event, Item, Outcome
from destinations.mixpanel.mapping import PRODUCTS, Mapper, Several, endpoints
from destinations.mixpanel.profiles import Counters

ENDPOINTS = endpoints("https://api.mixpanel.com", "T", None, None)
AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1", "userId": "u"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"


def mapper(**settings: Any) -> Mapper:  # Any: the mapper's own settings
    return Mapper(ENDPOINTS, "T", settings.pop("group_key", "$group_id"), **settings)


def items(said: Item | Several | Outcome) -> Sequence[Item]:
    assert isinstance(said, (Item, Several)), said
    return (said,) if isinstance(said, Item) else (said.first, *said.more, *said.then)


def sent(**fields: Any) -> list[Any]:  # Any: JSON
    made = fields.pop("mapper", None) or mapper()
    said = made.item(Event(json.dumps({**AT, **fields}).encode()))
    return [json.loads(item.body) for item in items(said)]


def properties(**fields: Any) -> Any:  # Any: JSON
    """The properties of the event itself, without what says when and whose it is."""
    found = sent(**fields)[0]["properties"]
    ours = ("time", "distinct_id", "$user_id", "$insert_id", "$device_id")
    return {key: value for key, value in found.items() if key not in ours}


@pytest.mark.parametrize("kind", ["page", "screen"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "Pricing", "category": "Docs", "properties": {}}, {}),
        ({"category": "Docs", "name": "Pricing"}, {}),
        ({"name": " Pricing ", "category": "Docs", "properties": None}, {}),
        ({"properties": {"name": "Pricing", "category": "Docs"}}, {}),
        ({"name": "Pricing", "properties": {"name": "other", "category": "Docs"}}, {}),
        ({"name": "Pricing", "category": "Docs", "properties": {"x": 1}}, {"x": 1}),
    ],
)
def test_pages_have_names(kind: str, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """A page's name and category are properties, wherever the SDK puts them."""
    said = properties(type=kind, **fields)
    assert said == {"name": "Pricing", "category": "Docs", **expected}
    [event] = sent(type=kind, mapper=mapper(page_names=True), **fields)
    assert event["event"] == f"Viewed Docs Pricing {kind.title()}"


def test_page_of_a_server() -> None:
    """A page's address and referrer are among its properties where there is no context."""
    page = {"url": "https://x/", "referrer": "https://y/"}
    fields = {"$current_url": "https://x/", "$referrer": "https://y/"}
    assert properties(type="page", properties=page) == {**page, **fields}
    # Of a track they may be those of a link, or of a product.
    assert properties(type="track", event="E", properties=page) == page


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (
            {"userAgent": FIREFOX},
            {"$browser": "Firefox", "$browser_version": "121.0", "$os": "Linux"},
        ),
        (
            {"user_agent": FIREFOX, "os": {"name": "Ubuntu"}},
            {"$browser": "Firefox", "$browser_version": "121.0", "$os": "Ubuntu"},
        ),
        ({"userAgent": "curl/8"}, {}),
        ({"userAgent": None}, {}),
        ({"userAgent": ["x"]}, {}),
    ],
)
@pytest.mark.parametrize("kind", ["track", "page", "screen"])
def test_browsers(kind: str, context: dict[str, Any], expected: dict[str, Any]) -> None:
    """Browser, version and system are read from the user agent, which `/import` does not do."""
    assert properties(type=kind, event="E", context=context) == expected


@pytest.mark.parametrize(
    ("campaign", "expected"),
    [
        ({"source": "s", "name": "n"}, {"utm_source": "s", "utm_campaign": "n"}),
        ({"utm_source": "s", "utm_campaign": "n"}, {"utm_source": "s", "utm_campaign": "n"}),
        ({"Source": "s", "Medium": None, "ID": 5}, {"utm_source": "s", "utm_id": "5"}),
        ({"source": " "}, {}),
        ("news", {}),
    ],
)
def test_campaigns(campaign: object, expected: dict[str, Any]) -> None:
    """The campaign's parts are UTM properties, in any case style."""
    assert properties(type="track", event="E", context={"campaign": campaign}) == expected


def test_places() -> None:
    """A place that the sender knows is Mixpanel's, and its coordinates are numbers."""
    location = {"city": "Rome", "region": "Lazio", "country": "Italy", "countryCode": "IT"}
    spot = {"latitude": "41.9", "longitude": 12.5}
    assert properties(type="track", event="E", context={"location": {**location, **spot}}) == {
        "$city": "Rome",
        "$region": "Lazio",
        "mp_country_code": "IT",
        "$latitude": 41.9,
        "$longitude": 12.5,
    }


@pytest.mark.parametrize(
    ("group_key", "given", "context", "expected"),
    [
        ("$group_id", {}, {"groupId": "g"}, "g"),
        ("company_id", {"companyId": 7}, {"groupId": "g"}, "7"),
        ("company_id", {"company_id": "c"}, {}, "c"),
        ("company_id", {"company_id": None}, {"groupId": "g"}, "g"),
    ],
)
def test_groups(group_key: str, given: Any, context: Any, expected: str) -> None:  # Any: JSON
    """An event belongs to the group of its property, in any case style, else of its context."""
    made = mapper(group_key=group_key)
    fields = {"type": "track", "event": "E", "properties": given, "context": context}
    assert sent(mapper=made, **fields)[0]["properties"][group_key] == expected


def test_reserved_group_key() -> None:
    """A property that is called like the default group key but for the sign is the sender's own."""
    said = properties(type="track", event="E", properties={"group_id": 3})
    assert said == {"group_id": 3}


# --- products ---

ORDER = {
    "order_id": "o-1",
    "checkout_id": "k-1",
    "total": 58,
    "currency": "EUR",
    "products": [
        {"product_id": "p-1", "name": "Mug", "price": 12.5, "quantity": 2, "coupon": None},
        {"item_id": "p-2", "price": "30"},
    ],
}


@pytest.mark.parametrize("name", ["Order Completed", "order_completed", "Completed Order"])
def test_products(name: str) -> None:
    """Each product of a completed order is an event besides, with its fields and the order's id."""
    order, *bought = sent(type="track", event=name, properties=ORDER, context={"ip": "1.2.3.4"})
    assert order["event"] == name
    assert order["properties"]["products"] == ORDER["products"]
    assert [event["event"] for event in bought] == ["Product Purchased"] * 2
    assert len({event["properties"].pop("$insert_id") for event in (order, *bought)}) == 3
    ours = {"time": 1767323045678, "distinct_id": "u", "$user_id": "u", "ip": "1.2.3.4"}
    ids = {"order_id": "o-1", "checkout_id": "k-1"}
    assert [event["properties"] for event in bought] == [
        {"product_id": "p-1", "name": "Mug", "price": 12.5, "quantity": 2, **ids, **ours},
        {"item_id": "p-2", "price": "30", **ids, **ours},
    ]


@pytest.mark.parametrize("missing", [None, "", 5, {}, [], [None, 1, "x", []]])
def test_no_products(missing: object) -> None:
    """An order without products is one event, whatever stands in their place."""
    order = {**ORDER, "products": missing}
    assert len(sent(type="track", event="Order Completed", properties=order)) == 1


def test_where_products_stand() -> None:
    """Nulls are passed over, `items` are products, and one among the properties is one."""
    for given in (
        {"products": [None, {"sku": "s"}]},
        {"items": [{"sku": "s"}]},
        {"Products": [{"sku": "s"}]},
        {"sku": "s", "order_id": "o", "total": 5},
    ):
        _, bought = sent(type="track", event="Order Completed", properties=given)
        assert bought["properties"]["sku"] == "s"
        assert "total" not in bought["properties"]


@pytest.mark.parametrize("key", ["order_id", "orderId", "transaction_id", "id"])
def test_orders_of_products(key: str) -> None:
    """A product says which order it was of, whatever the sender calls the order's id."""
    given = {key: "o-1", "products": [{"sku": "s"}]}
    _, bought = sent(type="track", event="Order Completed", properties=given)
    assert bought["properties"]["order_id"] == "o-1"


def test_many_products() -> None:
    """No order becomes more events than the longest list that Mixpanel takes."""
    order = {"products": [{"sku": str(n)} for n in range(1000)]}
    assert len(sent(type="track", event="Order Completed", properties=order)) == 1 + PRODUCTS


def test_products_are_a_setting() -> None:
    """Without the setting, and of other events, products stay in their list."""
    off = mapper(product_events=False)
    assert len(sent(type="track", event="Order Completed", properties=ORDER, mapper=off)) == 1
    assert len(sent(type="track", event="Cart Viewed", properties=ORDER)) == 1


def test_an_order_counts_once() -> None:
    """What settings map of an order is not repeated on its products."""
    made = mapper(mapping={"Revenue": "@worth", "ip": "'5.6.7.8'"})
    order, bought, _ = sent(type="track", event="Order Completed", properties=ORDER, mapper=made)
    assert order["properties"]["Revenue"] == 58
    assert "Revenue" not in bought["properties"]
    assert bought["properties"]["ip"] == "5.6.7.8"


# --- settings ---


def test_mapping() -> None:
    """Settings add, replace and remove fields; a property that they map has no second name."""
    made = mapper(
        mapping={
            "Lead Score": "number(properties.score)",
            "email": "sha256(properties.email)",
            "ssn": "",
            "$browser": False,
            "track": {"$os": "'mine'"},
        }
    )
    given = {"score": "5", "email": "a@b.de", "SSN": 1, "$os": "theirs", "other": None}
    said = properties(
        type="track",
        event="E",
        properties=given,
        context={"userAgent": FIREFOX},
        mapper=made,
    )
    assert said == {
        "Lead Score": 5,
        "email": hashlib.sha256(b"a@b.de").hexdigest(),
        "$browser_version": "121.0",
        "$os": "mine",
        "other": None,
    }


def test_property_before_default() -> None:
    """A property that is called like a default field is the sender's own word."""
    given = {"$browser": "Lynx", "ip": "5.6.7.8"}
    context = {"userAgent": FIREFOX, "ip": "1.2.3.4"}
    said = properties(type="track", event="E", properties=given, context=context)
    assert (said["$browser"], said["ip"]) == ("Lynx", "5.6.7.8")


@pytest.mark.parametrize(
    ("custom_events", "expected"),
    [
        ("all", {"ip": "1.2.3.4", "a": 1, "x": "y"}),
        ("none", {"x": "y"}),
        (["ip"], {"ip": "1.2.3.4", "x": "y"}),
    ],
)
def test_custom_events(custom_events: Any, expected: dict[str, Any]) -> None:  # Any: a setting
    """A track of the user's own name has what the setting says, one of the spec's everything."""
    made = mapper(custom_events=custom_events, mapping={"x": "'y'"})
    fields = {"type": "track", "properties": {"a": 1}, "context": {"ip": "1.2.3.4"}}
    assert properties(event="Quote Sent", mapper=made, **fields) == expected
    spec = properties(event="Signed Up", mapper=made, **fields)
    assert spec == {"ip": "1.2.3.4", "a": 1, "x": "y"}


def test_context_traits() -> None:
    """By setting, traits of the context are properties; what the event says itself wins."""
    traits = {"email": "a@b.de", "plan": "pro", "x": 1, "none": None}
    fields = {"type": "track", "event": "E", "properties": {"x": 2}, "context": {"traits": traits}}
    assert properties(**fields) == {"x": 2}
    said = properties(mapper=mapper(context_traits=True), **fields)
    assert said == {"$email": "a@b.de", "plan": "pro", "x": 2}


# --- counters ---


def counted(**fields: Any) -> list[Any]:  # Any: JSON
    counters = Counters(["Logged In", "Viewed Docs Page"], ["items purchased", "Coins"])
    made = mapper(counters=counters, page_names=True)
    said = made.item(Event(json.dumps({**AT, **fields}).encode()))
    return [json.loads(item.body) for item in said.then] if isinstance(said, Several) else []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event": "Logged In"}, {"Logged In": 1}),
        ({"event": "logged_in"}, {"Logged In": 1}),
        ({"event": "E", "properties": {"items_purchased": 5}}, {"items purchased": 5}),
        ({"event": "E", "properties": {"itemsPurchased": "5"}}, {"items purchased": 5}),
        ({"event": "E", "properties": {"coins": -2.5, "x": 1}}, {"Coins": -2.5}),
        ({"event": "E", "properties": {"coins": "1,200"}}, None),
        ({"event": "E", "properties": {"coins": True}}, None),
        ({"event": "E", "properties": {"coins": None}}, None),
        ({"event": "Logged In", "userId": None, "anonymousId": "a"}, None),
        ({"type": "page", "name": "Docs"}, {"Viewed Docs Page": 1}),
        ({"type": "page", "name": "Home"}, None),
    ],
)
def test_counters(fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """Events and numbers that settings name are added up on the profiles of known users."""
    said = counted(**{"type": "track", **fields})
    adds = [update["$add"] for update in said if "$add" in update]
    assert adds == ([] if expected is None else [expected])
    for update in said:
        assert (update["$token"], update["$distinct_id"], update["$ip"]) == ("T", "u", "0")


def test_last_time() -> None:
    """An event that is counted leaves its time on the profile."""
    add, last = counted(type="track", event="Logged In")
    assert add["$add"] == {"Logged In": 1}
    assert last["$set"] == {"Last Logged In": "2026-01-02T03:04:05Z"}
