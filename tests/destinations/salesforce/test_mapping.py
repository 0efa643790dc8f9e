"""What each type of event becomes in Salesforce."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Event, Failed, Item, Outcome, Unsupported
from destinations.salesforce.mapping import Mapper, TrackObject, endpoint, token_request

TRACK = TrackObject(
    "Web_Event__c",
    "Message_Id__c",
    {
        "event": "Name",
        "timestamp": "At__c",
        "userId": "User__c",
        "properties.order.total": "Total__c",
        "properties.tags": "Tags__c",
    },
)
MAPPER = Mapper(
    "62.0",
    ("Lead", "User_Id__c", {"plan": "Plan__c", "nested.value": "Nested__c"}),
    ("Group_Id__c", {"plan": "Plan__c"}),
    TRACK,
)
CONTACTS = Mapper("62.0", ("Contact", "User_Id__c", {}), None, None)
AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}


def mapped(mapper: Mapper = MAPPER, **fields: Any) -> Item | Outcome:  # Any: JSON
    return mapper.item(Event(json.dumps({**AT, **fields}).encode()))


def record(said: Item | Outcome) -> Any:  # Any: JSON
    assert isinstance(said, Item)
    return json.loads(said.body)


def test_minimal_identify() -> None:
    """An identify with an id and nothing else is a record with that external id."""
    said = mapped(type="identify", userId="u")
    assert isinstance(said, Item)
    assert said.endpoint.url == "/services/data/v62.0/composite/sobjects/Lead/User_Id__c"
    assert record(said) == {"attributes": {"type": "Lead"}, "User_Id__c": "u"}


FULL = {
    "email": "ä@b.de",
    "first_name": "Änne",
    "lastName": "O'Neill 😀",
    "title": "CTO",
    "phone": "+49 1",
    "mobile-phone": "+49 2",
    "description": "d",
    "birthday": "1990-05-06T00:00:00Z",
    "department": "R&D",
    "website": "https://x.example",
    "company": {"name": "Acme", "employee_count": 9},
    "address": {
        "street": "1 Road",
        "city": "Köln",
        "region": "NW",
        "postalCode": "50667",
        "country": "DE",
        "planet": "Earth",
    },
    "plan": "pro",
    "nested": {"value": [1]},
    "unknown": "dropped",
}


def test_full_lead() -> None:
    """Traits in any case style go to a lead's standard fields, those of settings to theirs."""
    assert record(mapped(type="identify", userId=12, traits=FULL)) == {
        "attributes": {"type": "Lead"},
        "User_Id__c": "12",
        "Email": "ä@b.de",
        "FirstName": "Änne",
        "LastName": "O'Neill 😀",
        "Title": "CTO",
        "Phone": "+49 1",
        "MobilePhone": "+49 2",
        "Description": "d",
        "Website": "https://x.example",
        "Company": "Acme",
        "Street": "1 Road",
        "City": "Köln",
        "State": "NW",
        "PostalCode": "50667",
        "Country": "DE",
        "Plan__c": "pro",
        "Nested__c": "[1]",
    }


def test_full_contact() -> None:
    """A contact has other fields: a mailing address, a birth date, a department, no company."""
    said = mapped(CONTACTS, type="identify", userId="u", traits=FULL)
    assert isinstance(said, Item)
    assert said.endpoint.url.endswith("/Contact/User_Id__c")
    assert record(said) == {
        "attributes": {"type": "Contact"},
        "User_Id__c": "u",
        "Email": "ä@b.de",
        "FirstName": "Änne",
        "LastName": "O'Neill 😀",
        "Title": "CTO",
        "Phone": "+49 1",
        "MobilePhone": "+49 2",
        "Description": "d",
        "Birthdate": "1990-05-06",
        "Department": "R&D",
        "MailingStreet": "1 Road",
        "MailingCity": "Köln",
        "MailingState": "NW",
        "MailingPostalCode": "50667",
        "MailingCountry": "DE",
    }


@pytest.mark.parametrize(
    ("traits", "names"),
    [
        ({"name": "Ann B Lee"}, {"FirstName": "Ann", "LastName": "B Lee"}),
        ({"name": "Cher"}, {"LastName": "Cher"}),
        ({"firstName": "Ann"}, {"FirstName": "Ann"}),
        ({"lastName": "Lee"}, {"LastName": "Lee"}),
        ({"firstName": 5, "lastName": []}, {"FirstName": 5}),
    ],
)
def test_names(traits: dict[str, Any], names: dict[str, Any]) -> None:
    """A whole name is taken apart, and one of a single word is the last name, which is required."""
    said = record(mapped(type="identify", userId="u", traits=traits))
    assert said == {"attributes": {"type": "Lead"}, "User_Id__c": "u", **names}


def test_email_from_the_user_id() -> None:
    """A user id that is an address is the address where no trait is."""
    assert record(mapped(type="identify", userId="a@b.de"))["Email"] == "a@b.de"


@pytest.mark.parametrize("value", [None, [], {}, "", {"a": 1}, [1]])
def test_traits_of_the_wrong_type(value: object) -> None:
    """What a standard field cannot hold, null and nothing included, leaves the field as it is."""
    traits = {"phone": value, "company": value, "address": {"city": value}}
    said = record(mapped(type="identify", userId="u", traits=traits))
    assert said == {"attributes": {"type": "Lead"}, "User_Id__c": "u"}


def test_group() -> None:
    """A group is an account with the billing address; settings may add fields."""
    traits = {
        "name": "Acme",
        "industry": "IT",
        "employees": 9,
        "address": "1 Road",
        "plan": "pro",
        "email": "dropped",
    }
    said = mapped(type="group", groupId="g", userId="u", traits=traits)
    assert isinstance(said, Item)
    assert said.endpoint.url == "/services/data/v62.0/composite/sobjects/Account/Group_Id__c"
    assert record(said) == {
        "attributes": {"type": "Account"},
        "Group_Id__c": "g",
        "Name": "Acme",
        "Industry": "IT",
        "NumberOfEmployees": 9,
        "BillingStreet": "1 Road",
        "Plan__c": "pro",
    }


def test_track() -> None:
    """A track is a record of the custom object, by the message id, with the fields of settings."""
    said = mapped(
        type="track",
        event="Bought",
        userId="u",
        properties={"order": {"Total": 9.5}, "tags": ["ü"], "other": 1},
    )
    assert isinstance(said, Item)
    assert said.endpoint.url == "/services/data/v62.0/composite/sobjects/Web_Event__c/Message_Id__c"
    assert record(said) == {
        "attributes": {"type": "Web_Event__c"},
        "Message_Id__c": "m-1",
        "Name": "Bought",
        "At__c": "2026-01-02T03:04:05.678Z",
        "User__c": "u",
        "Total__c": 9.5,
        "Tags__c": '["ü"]',
    }


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ("2026-01-02T03:04:05+07:00", "2026-01-01T20:04:05.000Z"),
        ("2026-01-02", "2026-01-02T00:00:00.000Z"),
        (1767323045, "2026-01-02T03:04:05.000Z"),
        (1767323045678, "2026-01-02T03:04:05.678Z"),
        ("soon", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_dates(timestamp: object, at: str | None) -> None:
    """A timestamp in any form becomes a dateTime of Salesforce's; what is none is left out."""
    said = record(mapped(type="track", event="E", timestamp=timestamp))
    assert said.get("At__c") == at


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "identify"}, "no userId"),
        ({"type": "identify", "anonymousId": "a"}, "no userId"),
        ({"type": "identify", "userId": {"a": 1}}, "no userId"),
        ({"type": "group"}, "no groupId"),
        ({"type": "track", "event": "E", "messageId": None}, "no messageId"),
    ],
)
def test_missing_ids(fields: dict[str, Any], text: str) -> None:
    """An event without the id of its record fails with the reason, and costs no call."""
    said = mapped(**fields)
    assert isinstance(said, Failed)
    assert text in said.reason


@pytest.mark.parametrize(
    ("mapper", "fields"),
    [
        (MAPPER, {"type": "track"}),
        (MAPPER, {"type": "page", "name": "Home"}),
        (MAPPER, {"type": "screen", "name": "Home"}),
        (MAPPER, {"type": "alias", "userId": "u", "previousId": "p"}),
        (MAPPER, {"type": "delete"}),
        (MAPPER, {}),
        (CONTACTS, {"type": "group", "groupId": "g"}),
        (CONTACTS, {"type": "track", "event": "E"}),
    ],
)
def test_unsupported(mapper: Mapper, fields: dict[str, Any]) -> None:
    """Types that no setting gives an object, and those that have none, are not for Salesforce."""
    assert mapped(mapper, **fields) == Unsupported()


def test_a_record_has_one_key() -> None:
    """Two changes of a record have the same key, also where their ids differ in case."""
    keys = [mapped(type="identify", userId=user_id) for user_id in ("U-1", "u-1")]
    assert [item.key for item in keys if isinstance(item, Item)] == ["u-1", "u-1"]


def test_request_body() -> None:
    """A request asks for each record on its own, as Salesforce's documentation has it."""
    request = endpoint("62.0", "Lead", "X__c").request([b'{"a":1}', b"{}"])
    assert request.body == b'{"allOrNone":false,"records":[{"a":1},{}]}'
    assert request.headers["Content-Type"] == "application/json"


def test_token_requests() -> None:
    """Secrets are in the form, never in the URL; a refresh token decides the flow."""
    url = "https://login.salesforce.com"
    refresh = token_request(url, "id", "s&c=", "r!")
    assert refresh.url == f"{url}/services/oauth2/token"
    assert refresh.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(refresh.body.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["id"],
        "client_secret": ["s&c="],
        "refresh_token": ["r!"],
    }
    assert parse_qs(token_request(url, "id", None, "r").body.decode()).keys() == {
        "grant_type",
        "client_id",
        "refresh_token",
    }
    assert parse_qs(token_request(url, "id", "s", None).body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["id"],
        "client_secret": ["s"],
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    lambda odd, traits, properties, kind: {
        **AT,
        "type": kind,
        "event": "Bought",
        "userId": "u",
        "groupId": "g",
        "traits": traits,
        "properties": properties,
        **odd,
    },
    st.dictionaries(
        st.sampled_from(["type", "event", "userId", "groupId", "messageId", "traits", "timestamp"]),
        JSON,
        max_size=3,
    ),
    st.dictionaries(
        st.sampled_from(["email", "name", "firstName", "address", "birthday", "company", "plan"]),
        JSON,
    ),
    st.dictionaries(st.sampled_from(["order", "tags"]), JSON),
    st.sampled_from(["identify", "group", "track"]),
)


@settings(max_examples=50, deadline=None)
@given(EVENTS, st.sampled_from([MAPPER, CONTACTS]))
def test_no_event_is_too_odd(fields: dict[str, Any], mapper: Mapper) -> None:
    """Whatever stands in an event, it becomes valid JSON or an outcome, and nothing is raised."""
    said = mapper.item(Event(json.dumps(fields).encode()))
    if isinstance(said, Item):
        assert record(said)["attributes"]["type"] in ("Lead", "Contact", "Account", "Web_Event__c")
    else:
        assert isinstance(said, (Failed, Unsupported))
