"""The table of fields, what settings change of it, and the campaign that every event carries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from destinations.google_analytics import GoogleAnalytics
from destinations.google_analytics.fields import DEFAULTS
from destinations.google_analytics.mapping import Mapper, Stream
from destinations.kit import Event, Failed, Item
from destinations.kit.loading import settings_errors

NOW = datetime(2026, 1, 3, tzinfo=UTC)
WEB = Stream("https://www.google-analytics.com", "G-1", "s")
APP = Stream("https://www.google-analytics.com", "1:2:ios:3", "s", is_app=True)
CAMPAIGN = {
    "source": "news",
    "medium": "email",
    "name": "may",
    "term": "mugs",
    "content": "top",
    "id": 7,
}
AS_PARAMETERS = {
    "source": "news",
    "medium": "email",
    "campaign": "may",
    "term": "mugs",
    "content": "top",
    "campaign_id": "7",
}


def body(
    mapping: dict[str, Any] | None = None,
    stream: Stream = WEB,
    custom_events: Any = "all",
    **fields: Any,
) -> Any:  # Any: JSON
    """The whole body of the request that an event becomes."""
    mapper = Mapper(stream, {}, mapping, custom_events)
    raw = json.dumps({"type": "track", "event": "Hit", "anonymousId": "a", **fields}).encode()
    said = mapper.item(Event(raw), NOW)
    assert isinstance(said, Item), said
    return json.loads(said.endpoint.request([said.body]).body)


def params(*given: Any, **fields: Any) -> Any:  # Any: JSON
    """The parameters of the event that an event becomes, without the engagement."""
    said = body(*given, **fields)["events"][0]["params"]
    said.pop("engagement_time_msec")
    return said


@pytest.mark.parametrize("event_type", ["track", "page", "identify", "group"])
def test_campaign(event_type: str) -> None:
    """The campaign of the context is in every event's parameters."""
    for campaign in (CAMPAIGN, {f"utm_{key}": value for key, value in CAMPAIGN.items()}):
        fields = {"type": event_type, "groupId": "g", "context": {"campaign": campaign}}
        said = params(**fields)
        said.pop("group_id", None)
        assert said == AS_PARAMETERS
    said = params(type=event_type, groupId="g", context={"campaign": {"source": "news"}})
    assert said.get("source") == "news"
    none: object
    for none in (None, "x", {}, [], {"source": {}}):
        assert "source" not in params(type=event_type, groupId="g", context={"campaign": none})


def test_campaign_of_a_screen() -> None:
    """The same in an app."""
    integrations = {"GA4": {"appInstanceId": "i"}}
    context = {"campaign": CAMPAIGN}
    said = params(None, APP, type="screen", name="x", context=context, integrations=integrations)
    assert said == {"screen_name": "x", **AS_PARAMETERS}


def test_campaign_and_own_properties() -> None:
    """A sender's own property of such a name is meant, and no campaign."""
    for event_type, place in (("track", "properties"), ("page", "properties"), ("group", "traits")):
        fields = {"type": event_type, "groupId": "g", place: {"source": "app", "content": 5}}
        said = params(context={"campaign": CAMPAIGN}, **fields)
        assert (said["source"], said["content"], said["medium"]) == ("app", "5", "email")
    said = params({"source": "'fixed'"}, properties={"source": "app"})
    assert said["source"] == "fixed"


def test_mapping() -> None:
    """Settings give parameters more, others, or none of them."""
    properties = {"order_id": "o", "my_order": 5, "deal": {"size": "3"}, "total": 9}
    said = params(
        {
            "transaction_id": "properties.my_order",
            "deal_size": "number(properties.deal.size)",
            "page_location": "",
            "track": {"affiliation": "'Shop'"},
            "page": {"affiliation": "'Page'"},
        },
        event="Order Completed",
        properties=properties,
        context={"page": {"url": "https://x.de/", "title": "T"}},
    )
    assert said == {
        "transaction_id": "5",
        "deal_size": 3,
        "affiliation": "Shop",
        "page_title": "T",
        "value": 9,
        "order_id": "o",
    }


def test_mapping_of_worth_and_items() -> None:
    """Value, currency and items are settings', too: other ones, or none."""
    basket = {"basket": {"lines": [{"sku": "s", "price": 2, "quantity": 3}]}}
    items = [{"item_id": "s", "price": 2, "quantity": 3}]
    mapping = {"items": "properties.basket.lines"}
    said = params(mapping, event="Order Completed", properties=basket)
    assert said == {"value": 6, "items": items}
    assert params(mapping, properties=basket) == {"items": items}
    lines = [{**basket["basket"]["lines"][0], "currency": "eur"}]
    said = params(mapping, event="Cart Viewed", properties={"basket": {"lines": lines}})
    assert said == {"value": 6, "currency": "EUR", "items": [{**items[0], "currency": "EUR"}]}
    mapping = {"value": "properties.margin", "currency": "'EUR'"}
    properties = {"revenue": 9, "margin": "4", "products": basket["basket"]["lines"]}
    said = params(mapping, event="Order Completed", properties=properties)
    assert said == {"value": 4, "currency": "EUR", "items": items}
    nothing = {"value": "", "items": "", "currency": ""}
    properties = {"revenue": 9, "currency": "EUR", "products": basket["basket"]["lines"]}
    assert params(nothing, event="Order Completed", properties=properties) == {}
    assert params({"value": "@worth"}, properties={"total": "80.5"}) == {"value": 80.5}


def test_removed_fields() -> None:
    """A field that settings remove is filled by nothing else: not even by what has its name."""
    properties = {"plan": "pro", "value": 3, "x": 1}
    assert params({"plan": "", "value": False}, properties=properties) == {"x": 1}
    assert params({"page": {"plan": ""}}, properties=properties) == properties
    said = body({"user_properties.plan": ""}, type="identify", traits={"plan": "pro", "age": 7})
    assert said["user_properties"] == {"age": {"value": 7}}
    again = {"plan": "", "track": {"plan": "'team'"}}
    assert params(again, properties=properties) == {"plan": "team", "value": 3, "x": 1}


def test_too_many_fields() -> None:
    """Of more fields than parameters those of money and goods stay, and the first of the table."""
    mapping = {f"p{n:02}": str(n) for n in range(40)}
    properties = {"order_id": "o", "revenue": 9, "currency": "EUR", "products": [{"sku": "s"}]}
    said = params(mapping, event="Order Completed", properties=properties)
    assert len(said) == 23
    assert said.keys() >= {"transaction_id", "value", "currency", "items"}
    assert len(params(mapping, WEB, "none")) == 23


@pytest.mark.parametrize("event_type", ["page", "track", "group"])
def test_currencies_and_amounts(event_type: str) -> None:
    """Codes of currencies are in capitals and amounts numbers, in events of every type."""
    given = {"currency": "usd", "value": "$3"}
    fields = {"type": event_type, "groupId": "g", "traits": given, "properties": given}
    said = params(**fields)
    assert (said["currency"], said["value"]) == ("USD", 3)


def test_mapping_of_the_request() -> None:
    """Ids, user properties, consent and place are fields as well."""
    said = body(
        {
            "client_id": "properties.cid",
            "user_id": "traits.account",
            "ip_override": "",
            "user_agent": "'bot'",
            "user_properties.tier": "upper(traits.plan)",
            "user_properties.plan": "traits.plan",
            "consent.ad_user_data": "traits.opt_in",
            "user_location.city": "traits.address.city",
            "device.screen.size": "'big'",
            "user_data.sha256_email_address": "sha256(lower(traits.email))",
        },
        properties={"cid": 12.0},
        context={
            "ip": "192.0.2.1",
            "traits": {
                "account": "acc",
                "plan": "pro",
                "opt_in": "yes",
                "address": {"city": "Rome"},
                "email": "A@x.de",
            },
        },
    )
    email = said.pop("user_data")["sha256_email_address"]
    assert len(email) == 64
    assert [event["name"] for event in said.pop("events")] == ["Hit"]
    assert said == {
        "client_id": "12",
        "user_id": "acc",
        "user_agent": "bot",
        "user_properties": {
            name: {"value": value}
            for name, value in {
                "account": "acc",
                "opt_in": "yes",
                "plan": "pro",
                "tier": "PRO",
            }.items()
        },
        "consent": {"ad_user_data": "GRANTED"},
        "user_location": {"city": "Rome"},
        "device": {"screen": {"size": "big"}},
    }


def test_mapping_of_an_app() -> None:
    """An app's instance may come from a field, and its tracks have a page where settings say so."""
    context = {"page": {"url": "https://x.de/"}, "device": {"id": "i"}}
    said = body({"app_instance_id": "context.device.id"}, APP, context=context)
    assert said["app_instance_id"] == "i"
    assert "page_location" not in said["events"][0]["params"]
    mapping = {"app_instance_id": "context.device.id", "page_location": "context.page.url"}
    said = body(mapping, APP, context=context)
    assert said["events"][0]["params"]["page_location"] == "https://x.de/"
    assert "client_id" not in said


def test_session_of_a_mapping() -> None:
    """A session's id may come from a field; one that is none gives way."""
    mapping = {"session_id": "properties.sid", "engagement_time_msec": "properties.ms"}
    properties = {"sid": "17", "ms": "2500", "session_id": 18}
    said = body(mapping, properties=properties)["events"][0]["params"]
    assert said == {"session_id": 17, "engagement_time_msec": 2500}
    assert params({"session_id": "'x'"}, properties=properties)["session_id"] == 18
    assert "session_id" not in params({"session_id": ""}, properties=properties)
    for custom_events in ("all", "none", ["value"]):
        said = params(None, WEB, custom_events, context={"Session ID": "17"})
        assert said == {"session_id": 17}


CUSTOM: dict[str, Any] = {
    "userId": "u",
    "properties": {"value": "3", "currency": "eur", "x": 1},
    "context": {"campaign": {"source": "news"}, "page": {"url": "https://x.de/"}, "ip": "1.2.3.4"},
}


def test_custom_events() -> None:
    """What a track of the user's own name gets is a setting; whose it is, is said of all."""
    everything = {"value": 3, "currency": "EUR", "x": 1, "source": "news"}
    assert params(**CUSTOM) == {**everything, "page_location": "https://x.de/"}
    assert params(None, WEB, "none", **CUSTOM) == {}
    said = body(None, WEB, "none", **CUSTOM)
    assert (said["client_id"], said["user_id"], said["ip_override"]) == ("a", "u", "1.2.3.4")
    assert params({"plan": "'pro'"}, WEB, "none", **CUSTOM) == {"plan": "pro"}
    assert params(None, WEB, ["value", "currency"], **CUSTOM) == {"value": 3, "currency": "EUR"}
    spec = {**CUSTOM, "event": "Signed Up"}
    assert params(None, WEB, "none", **spec) == {**everything, "page_location": "https://x.de/"}


def test_custom_events_of_googles_names() -> None:
    """Google's own events are no spec's of Segment's: the setting holds for them."""
    fields = {"event": "purchase", "properties": {"value": 3, "items": [{"item_id": "s"}]}}
    assert params(None, WEB, "none", **fields) == {}
    assert params(None, WEB, ["items"], **fields) == {"items": [{"item_id": "s"}]}
    assert params(None, WEB, ["value"], **fields) == {"value": 3}


def test_group_of_a_mapping() -> None:
    """A group's id may come from a field; without any there is nothing to join."""
    said = params({"group_id": "traits.id"}, type="group", traits={"id": 5, "name": "Acme"})
    assert said == {"group_id": "5", "name": "Acme"}
    mapper = Mapper(WEB, {})
    assert isinstance(mapper.item(Event(b'{"type":"group","anonymousId":"a"}'), NOW), Failed)


@pytest.mark.parametrize("target", [
    "plan", "page_location", "client_id", "user_properties.plan", "consent.ad_personalization",
    "user_location.city", "device.category", "user_data.sha256_email_address", "größe",
])  # fmt: skip
def test_targets(target: str) -> None:
    """Parameters and fields of the request may be mapped, for all events and for one type."""
    given = {"measurement_id": "G-1", "api_secret": "s"}
    for mapping in ({target: "'x'"}, {"page": {target: "'x'"}}):
        assert settings_errors(GoogleAnalytics, {**given, "mapping": mapping}) == []


@pytest.mark.parametrize("target", [
    "ga_x", "firebase_conversion", "email", "x" * 41, "a b", "1st", "user_properties.user_id",
    "user_properties.name", "user_properties." + "x" * 25, "consent.other", "other.field",
    "user_location.", "_x",
])  # fmt: skip
def test_targets_that_are_none(target: str) -> None:
    """What Google Analytics would drop without a word is told with its key path."""
    given = {"measurement_id": "G-1", "api_secret": "s"}
    for mapping, at in (({target: "'x'"}, "mapping"), ({"page": {target: "'x'"}}, "mapping.page")):
        [error] = settings_errors(GoogleAnalytics, {**given, "mapping": mapping})
        assert error.startswith(f"{at}.{target}: ")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"mapping": {"x": "properties."}}, "mapping.x: "),
        ({"default_currency": "eur"}, "default_currency: must be three capitals"),
        ({"custom_events": 5}, "custom_events"),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Settings that cannot work are told with their key."""
    given = {"measurement_id": "G-1", "api_secret": "s", **settings}
    [found] = settings_errors(GoogleAnalytics, given)
    assert found.startswith(error)


def test_defaults_are_fields() -> None:
    """Each field of the default table is one that may be mapped."""
    targets = {target for _, target, _ in DEFAULTS.rows()}
    given = {"measurement_id": "G-1", "api_secret": "s", "mapping": dict.fromkeys(targets, "'x'")}
    assert settings_errors(GoogleAnalytics, given) == []


@pytest.mark.parametrize("meant", ["Order Completed", "purchase", "completedOrder"])
def test_events_of_own_names(meant: str) -> None:
    """Settings say what a track of an own name is: it has all that such an event has."""
    mapper = Mapper(WEB, {}, None, "none", None, {"Deal Won": meant, "Lost": "Quote Lost"})
    fields: dict[str, Any] = {"type": "track", "anonymousId": "a"}
    order = {"order_id": "o", "total": 9, "currency": "EUR", "products": [{"sku": "s"}]}
    for name in ("Deal Won", "deal_won", "dealWon"):
        raw = json.dumps({**fields, "event": name, "properties": order}).encode()
        said = mapper.item(Event(raw), NOW)
        assert isinstance(said, Item)
        made = json.loads(said.body)
        assert made["name"] == "purchase"
        if meant != "purchase":  # Google's own names are custom events
            assert made["params"]["items"] == [{"item_id": "s"}]
            assert made["params"]["value"] == 9
    said = mapper.item(Event(json.dumps({**fields, "event": "Lost"}).encode()), NOW)
    assert isinstance(said, Item)
    assert json.loads(said.body)["name"] == "Quote_Lost"


@pytest.mark.parametrize("events", [{"x": ""}, {"x": "!"}, {" ": "purchase"}, {"x": "ga_x"}])
def test_events_that_are_none(events: dict[str, str]) -> None:
    """What is no name is told with its key."""
    given = {"measurement_id": "G-1", "api_secret": "s", "events": events}
    [error] = settings_errors(GoogleAnalytics, given)
    assert error.startswith("events")
