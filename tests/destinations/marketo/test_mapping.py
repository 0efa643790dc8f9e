"""What each type of event becomes in Marketo."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Delivered, Event, Failed, Item, Outcome, Retry, Unsupported
from destinations.marketo.mapping import Activity, ActivityType, Mapper, endpoints, token_request

BASE = "https://123-ABC-456.mktorest.com"
ENDPOINTS = endpoints(BASE, "email")
BOUGHT = ActivityType(100001, "name", {"total": "total", "Order ID": "orderId", "tags": "tags"})
MAPPER = Mapper(
    ENDPOINTS, "email", {"plan": "plan__c", "company.name": "company"}, {"Bought": BOUGHT}
)
BY_ID = Mapper(endpoints(BASE, "userId__c"), "userId__c", {}, {"Bought": ActivityType(7)})
AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}

Said = Item | Activity | Outcome


def mapped(mapper: Mapper = MAPPER, **fields: Any) -> Said:  # Any: JSON
    return mapper.mapped(Event(json.dumps({**AT, **fields}).encode()))


def record(said: Said) -> Any:  # Any: JSON
    assert isinstance(said, Item)
    assert said.endpoint.url == f"{BASE}/rest/v1/leads.json"
    return json.loads(said.body)


def activity(said: Said, lead_id: int = 42) -> Any:  # Any: JSON
    assert isinstance(said, Activity)
    item = said.item(ENDPOINTS.activities, lead_id)
    assert item.endpoint is ENDPOINTS.activities
    return json.loads(item.body)


def test_minimal_identify() -> None:
    """An identify with an address and nothing else is a person with an address."""
    assert record(mapped(type="identify", traits={"email": "a@b.de"})) == {"email": "a@b.de"}


def test_full_identify() -> None:
    """Traits in any case style go to Marketo's standard fields, those of settings to theirs."""
    traits = {
        "email": "a@b.de",
        "first_name": "Änne",
        "lastName": "O'Neill 😀",
        "middle-name": "M",
        "title": "CTO",
        "phone": "+49 1",
        "mobile": "+49 2",
        "birthday": "1990-05-06T00:00:00Z",
        "leadSource": "web",
        "address": {
            "street": "1 Road",
            "city": "Köln",
            "state": "NW",
            "postal_code": "50667",
            "country": "DE",
            "planet": "Earth",
        },
        "plan": "pro",
        "company": {"name": "Acme", "id": 7},
        "unknown": "dropped",
        "createdAt": "2026-01-01T00:00:00Z",
    }
    assert record(mapped(type="identify", userId="u", traits=traits)) == {
        "email": "a@b.de",
        "firstName": "Änne",
        "lastName": "O'Neill 😀",
        "middleName": "M",
        "title": "CTO",
        "phone": "+49 1",
        "mobilePhone": "+49 2",
        "dateOfBirth": "1990-05-06",
        "leadSource": "web",
        "address": "1 Road",
        "city": "Köln",
        "state": "NW",
        "postalCode": "50667",
        "country": "DE",
        "plan__c": "pro",
        "company": "Acme",
    }


def test_name_is_taken_apart() -> None:
    """Where only the whole name is known, its first word is the first name."""
    said = record(mapped(type="identify", userId="a@b.de", traits={"name": "Ann B Lee"}))
    assert said == {"email": "a@b.de", "firstName": "Ann", "lastName": "B Lee"}


@pytest.mark.parametrize(
    ("birthday", "date"),
    [
        ("1990-05-06", "1990-05-06"),
        ("1990-05-06T23:00:00-05:00", "1990-05-06"),
        (641952000, "1990-05-06"),
        (641952000000, "1990-05-06"),
        ("in May", None),
        ([], None),
    ],
)
def test_dates(birthday: object, date: str | None) -> None:
    """A birthday in any form that is a date is one; what is none is left out."""
    said = record(mapped(type="identify", traits={"email": "a@b.de", "birthday": birthday}))
    assert said.get("dateOfBirth") == date


@pytest.mark.parametrize("value", [None, [], {}, "", {"a": 1}, [1]])
def test_traits_of_the_wrong_type(value: object) -> None:
    """What a standard field cannot hold, null and nothing included, leaves the field as it is."""
    traits = {"email": "a@b.de", "phone": value, "address": {"city": value}}
    assert record(mapped(type="identify", traits=traits)) == {"email": "a@b.de"}


def test_address_as_text() -> None:
    """An address that is a line of text is the street's."""
    said = record(mapped(type="identify", traits={"email": "a@b.de", "address": "1 Road, Town"}))
    assert said == {"email": "a@b.de", "address": "1 Road, Town"}


def test_nested_value_of_a_setting() -> None:
    """A field that settings name takes an object or list as its JSON text."""
    said = record(mapped(type="identify", traits={"email": "a@b.de", "plan": {"n": [1, "ü"]}}))
    assert said["plan__c"] == '{"n":[1,"ü"]}'


def test_another_lookup_field() -> None:
    """With another lookup field than the address, the user id is looked up in it."""
    said = mapped(BY_ID, type="identify", userId=12, traits={"email": "a@b.de"})
    assert record(said) == {"userId__c": "12", "email": "a@b.de"}
    assert isinstance(said, Item)
    assert said.endpoint.request([b"{}"]).body == (
        b'{"action":"createOrUpdate","lookupField":"userId__c","input":[{}]}'
    )


def test_track() -> None:
    """A track is the activity that settings name for it, of the person that the address finds."""
    properties = {"name": "Shoes", "total": 9.5, "order_id": 7, "tags": ["a"], "other": 1}
    said = mapped(
        type="track",
        event="Bought",
        userId="u",
        properties=properties,
        context={"traits": {"email": "a@b.de"}},
    )
    assert activity(said) == {
        "leadId": 42,
        "activityDate": "2026-01-02T03:04:05+00:00",
        "activityTypeId": 100001,
        "primaryAttributeValue": "Shoes",
        "attributes": [
            {"apiName": "total", "value": 9.5},
            {"apiName": "orderId", "value": 7},
            {"apiName": "tags", "value": '["a"]'},
        ],
    }
    assert isinstance(said, Activity)
    assert record(said.person) == {"email": "a@b.de"}


def test_minimal_track() -> None:
    """Without a primary attribute in the settings, the event's name is it."""
    assert activity(mapped(BY_ID, type="track", event="Bought", userId="u")) == {
        "leadId": 42,
        "activityDate": "2026-01-02T03:04:05+00:00",
        "activityTypeId": 7,
        "primaryAttributeValue": "Bought",
        "attributes": [],
    }


@pytest.mark.parametrize(
    ("timestamp", "date"),
    [
        ("2026-01-02T03:04:05+07:00", "2026-01-01T20:04:05+00:00"),
        ("2026-01-02", "2026-01-02T00:00:00+00:00"),
        (1767323045, "2026-01-02T03:04:05+00:00"),
        (1767323045678, "2026-01-02T03:04:05+00:00"),
    ],
)
def test_activity_dates(timestamp: object, date: str) -> None:
    """A timestamp in any form is the activity's date, in UTC with its offset."""
    said = mapped(BY_ID, type="track", event="Bought", userId="u", timestamp=timestamp)
    assert activity(said)["activityDate"] == date


@pytest.mark.parametrize("primary", [5, True, 1.5])
def test_primary_attribute_is_text(primary: object) -> None:
    """A primary attribute that is no text becomes text, as the API wants it."""
    said = mapped(type="track", event="Bought", userId="a@b.de", properties={"name": primary})
    assert activity(said)["primaryAttributeValue"] == json.dumps(primary)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "identify", "traits": {"email": "ä@b.de"}}, "ASCII"),
        ({"type": "track", "event": "Bought", "userId": "ä@b.de"}, "ASCII"),
        ({"type": "track", "event": "Bought", "userId": "a@b.de"}, "no property name"),
        (
            {
                "type": "track",
                "event": "Bought",
                "userId": "a@b.de",
                "properties": {"name": "x"},
                "timestamp": "soon",
            },
            "timestamp",
        ),
        (
            {
                "type": "track",
                "event": "Bought",
                "userId": "a@b.de",
                "properties": {"name": "x"},
                "timestamp": "0001-01-01T00:00:00+14:00",
            },
            "timestamp",
        ),
    ],
)
def test_what_marketo_would_refuse(fields: dict[str, Any], text: str) -> None:
    """An event that cannot be valid fails with the reason, and costs no call."""
    said = mapped(**fields)
    assert isinstance(said, Failed)
    assert text in said.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "track", "event": "Other", "userId": "a@b.de"},
        {"type": "track"},
        {"type": "page", "name": "Home"},
        {"type": "screen", "name": "Home"},
        {"type": "group", "groupId": "g"},
        {"type": "alias", "userId": "u", "previousId": "p"},
        {"type": "delete"},
        {},
    ],
)
def test_unsupported(fields: dict[str, Any]) -> None:
    """Events that no setting names, and other types, are not for Marketo."""
    assert mapped(**fields) == Unsupported()


def test_one_person_has_one_key() -> None:
    """Two changes of a person have the same key whatever the case of the address."""
    one, two = (mapped(type="identify", traits={"email": email}) for email in ("a@b.de", "A@B.de"))
    assert isinstance(one, Item)
    assert isinstance(two, Item)
    assert one.key == two.key == "a@b.de"


def test_requests() -> None:
    """Requests are those of Marketo's documentation, byte for byte."""
    leads = ENDPOINTS.leads.request([b'{"email":"a@b.de"}', b"{}"])
    assert (leads.method, leads.url) == ("POST", f"{BASE}/rest/v1/leads.json")
    assert leads.headers["Content-Type"] == "application/json"
    assert leads.body == (
        b'{"action":"createOrUpdate","lookupField":"email","input":[{"email":"a@b.de"},{}]}'
    )
    added = ENDPOINTS.activities.request([b"{}"])
    assert (added.method, added.url) == ("POST", f"{BASE}/rest/v1/activities/external.json")
    assert added.body == b'{"input":[{}]}'
    token = token_request(BASE, "id", "s&cret=")
    assert (token.method, token.body) == ("GET", b"")
    assert token.url == (
        f"{BASE}/identity/oauth/token"
        "?grant_type=client_credentials&client_id=id&client_secret=s%26cret%3D"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["type", "event", "userId", "traits", "properties", "context", "timestamp", "receivedAt"]
)
TRAITS = st.dictionaries(
    st.sampled_from(["email", "name", "firstName", "address", "birthday", "phone", "plan"]), JSON
)
EVENTS = st.builds(
    lambda odd, traits, properties, kind: {
        **AT,
        "type": kind,
        "event": "Bought",
        "userId": "a@b.de",
        "traits": traits,
        "properties": properties,
        **odd,
    },
    st.dictionaries(KEYS, JSON, max_size=3),
    TRAITS,
    st.dictionaries(st.sampled_from(["name", "total", "Order ID", "tags"]), JSON),
    st.sampled_from(["identify", "track"]),
)


@settings(max_examples=50, deadline=None)
@given(EVENTS)
def test_no_event_is_too_odd(fields: dict[str, Any]) -> None:
    """Whatever stands in an event, it becomes valid JSON or an outcome, and nothing is raised."""
    said = MAPPER.mapped(Event(json.dumps(fields).encode()))
    if isinstance(said, Activity):
        assert isinstance(activity(said)["primaryAttributeValue"], str)
    elif isinstance(said, Item):
        assert record(said)["email"].isascii()
    else:
        assert isinstance(said, (Failed, Unsupported))
        assert not isinstance(said, (Delivered, Retry))
