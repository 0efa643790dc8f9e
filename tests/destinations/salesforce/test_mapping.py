"""What each type of event becomes in Salesforce."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Event, Failed, Item, Outcome, Unsupported
from destinations.salesforce import fields
from destinations.salesforce.mapping import (
    Mapper,
    RecordRule,
    TrackObject,
    endpoint,
    token_request,
)

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
        "NumberOfEmployees": 9,
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
        ({"firstName": 5, "lastName": []}, {"FirstName": "5"}),
        ({"firstName": [], "name": "Ann Lee"}, {"FirstName": "Ann", "LastName": "Lee"}),
        ({"first_name": "Ann", "Name": "Ann"}, {"FirstName": "Ann"}),
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


@pytest.mark.parametrize(
    "traits",
    [
        {"city": "Rome", "country": "IT", "street": "Via 1", "state": "RM", "postal_code": "00184"},
        {"Country": "IT", "City": "Rome", "Street": "Via 1", "region": "RM", "zip": "00184"},
        {
            "address": {"city": "Rome", "street": "Via 1", "postalCode": "00184"},
            "country": "IT",
            "province": "RM",
        },
        {"address": None, "city": "Rome", "country": "IT", "line1": "Via 1", "state": "RM",
         "postcode": "00184"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("event_type", ["identify", "group"])
@pytest.mark.parametrize("mapper", [MAPPER, CONTACTS])
def test_addresses(mapper: Mapper, event_type: str, traits: dict[str, Any]) -> None:
    """An address is read beside an object as in it, for each of the objects, in any case style."""
    if (mapper, event_type) == (CONTACTS, "group"):
        return  # there is no account in these settings
    prefix = "Billing" if event_type == "group" else "" if mapper is MAPPER else "Mailing"
    said = record(mapped(mapper, type=event_type, userId="u", groupId="g", traits=traits))
    whole = {
        "Street": "Via 1",
        "City": "Rome",
        "State": "RM",
        "PostalCode": "00184",
        "Country": "IT",
    }
    assert whole == {key: said.get(prefix + key) for key in whole}


def test_numbers_are_text() -> None:
    """A number that a text field is to hold is text; of employees it is a number, as text too."""
    texts = {"phone": "4930123", "postal_code": "50667", "fax": "5", "employees": "9"}
    numbers = {"phone": 4930123, "postal_code": 50667, "fax": 5.0, "employees": 9}
    said = record(mapped(type="identify", userId="u", traits=texts))
    assert record(mapped(type="identify", userId="u", traits=numbers)) == said
    assert said["NumberOfEmployees"] == 9
    assert said["Fax"] == "5"
    unsure = record(mapped(type="identify", userId="u", traits={"employees": "100-500"}))
    assert "NumberOfEmployees" not in unsure


def test_rating_and_account_number() -> None:
    """Leads and accounts have a rating, accounts a number."""
    assert record(mapped(type="identify", userId="u", traits={"rating": "Hot"}))["Rating"] == "Hot"
    traits = {"Rating": "Cold", "accountNumber": 77}
    account = record(mapped(type="group", groupId="g", traits=traits))
    assert account["Rating"] == "Cold"
    assert account["AccountNumber"] == "77"


def test_context_traits() -> None:
    """What the traits do not say, those of the context do."""
    said = record(
        mapped(
            type="identify",
            userId="u",
            traits={"firstName": "Ann"},
            context={"traits": {"lastName": "Lee", "plan": "pro", "firstName": "Bob"}},
        )
    )
    assert (said["FirstName"], said["LastName"], said["Plan__c"]) == ("Ann", "Lee", "pro")


def with_mapping(*records: RecordRule, person: str = "Lead", **mapping: Any) -> Mapper:
    """A mapper with these settings; Any: expressions."""
    return Mapper(
        "62.0",
        (person, "User_Id__c", {"plan": "Plan__c", "job": "Title"}),
        ("Group_Id__c", {}),
        TRACK,
        mapping,
        records=records,
    )


def test_mapping() -> None:
    """Settings change the fields of each type; what they remove is not sent."""
    mapper = with_mapping(
        identify={
            "Company": "@company_name ?? 'n/a'",
            "Email": "",
            "Tags__c": "traits.tags",
            "Tier__c": "join(traits.tags, ';')",
            "Plan__c": "upper(traits.plan)",
            "Account.Group_Id__c": "traits.company.id",
        },
        group={"Name": "traits.legal_name ?? @name"},
        track={"Name": "'{event}!'", "Currency__c": "@currency"},
    )
    traits = {"email": "a@b.de", "plan": "pro", "tags": ["a", "b"], "company": {"id": "g"}}
    assert record(mapped(mapper, type="identify", userId="u", traits=traits)) == {
        "attributes": {"type": "Lead"},
        "User_Id__c": "u",
        "Company": "n/a",
        "Plan__c": "PRO",
        "Tags__c": '["a","b"]',
        "Tier__c": "a;b",
        "Account": {"Group_Id__c": "g"},
    }
    account = mapped(mapper, type="group", groupId="g", traits={"name": "A", "legalName": "A Ltd"})
    assert record(account)["Name"] == "A Ltd"
    event = record(mapped(mapper, type="track", event="E", properties={"currency": "eur"}))
    assert (event["Name"], event["Currency__c"]) == ("E!", "EUR")


def test_paths_of_older_settings() -> None:
    """A path without a value leaves the default; keys may hold quotes, blanks and dots."""
    mapper = with_mapping()
    assert record(mapped(mapper, type="identify", userId="u", traits={"title": "CTO"})) == {
        "attributes": {"type": "Lead"},
        "User_Id__c": "u",
        "Title": "CTO",
    }
    both = {"title": "CTO", "job": "CEO"}
    assert record(mapped(mapper, type="identify", userId="u", traits=both))["Title"] == "CEO"
    odd = Mapper(
        "62.0", ("Lead", "U__c", {"My Plan": "A__c", "a.b": "B__c", 'x"y': "C__c"}), None, None
    )
    traits = {"my_plan": 1, "a.b": 2, 'x"y': 3}
    said = record(mapped(odd, type="identify", userId="u", traits=traits))
    assert (said["A__c"], said["B__c"], said["C__c"]) == (1, 2, 3)


CASES = RecordRule(
    "identify", "Case", "Case_Id__c", "traits.case_id", {"Subject": "traits.subject"}
)
DEALS = RecordRule(
    "track",
    "Opportunity",
    "Deal_Id__c",
    "properties.deal_id",
    {"Amount": "@worth", "StageName": "'Won'", "Account.Group_Id__c": "context.groupId"},
    ["deal_won"],
)


def test_other_objects() -> None:
    """A rule takes the events that it has an id for; all others stay what they are."""
    mapper = with_mapping(CASES, DEALS)
    case = mapped(mapper, type="identify", userId="u", traits={"case_id": 7, "subject": "Help"})
    assert isinstance(case, Item)
    assert case.endpoint.url == "/services/data/v62.0/composite/sobjects/Case/Case_Id__c"
    assert record(case) == {"attributes": {"type": "Case"}, "Case_Id__c": "7", "Subject": "Help"}
    for no_id in (None, "", " "):
        lead = mapped(mapper, type="identify", userId="u", traits={"case_id": no_id})
        assert record(lead)["attributes"] == {"type": "Lead"}
    won = {"deal_id": "d", "total": "90", "currency": "EUR"}
    deal = mapped(mapper, type="track", event="Deal Won", properties=won, context={"groupId": "g"})
    assert record(deal) == {
        "attributes": {"type": "Opportunity"},
        "Deal_Id__c": "d",
        "Amount": 90.0,
        "StageName": "Won",
        "Account": {"Group_Id__c": "g"},
    }
    other = mapped(mapper, type="track", event="Deal Lost", properties=won)
    assert record(other)["attributes"] == {"type": "Web_Event__c"}


def test_rules_share_requests() -> None:
    """Records of one object travel together, whatever event they are of."""
    leads = RecordRule("track", "Lead", "User_Id__c", "userId", {"Score__c": "properties.score"})
    mapper = with_mapping(leads)
    one = mapped(mapper, type="track", event="Scored", userId="u", properties={"score": 1})
    other = mapped(mapper, type="identify", userId="U")
    assert isinstance(one, Item)
    assert isinstance(other, Item)
    assert one.endpoint is other.endpoint
    assert one.key == other.key


def test_a_person_of_another_object() -> None:
    """An identify may be any object's record, of the fields that settings map, and no others."""
    mapper = with_mapping(person="Subscriber__c", identify={"Mail__c": "@email"})
    said = mapped(mapper, type="identify", userId="u", traits={"email": "a@b.de", "plan": "pro"})
    assert isinstance(said, Item)
    assert said.endpoint.url.endswith("/Subscriber__c/User_Id__c")
    assert record(said) == {
        "attributes": {"type": "Subscriber__c"},
        "User_Id__c": "u",
        "Mail__c": "a@b.de",
        "Plan__c": "pro",
    }


def test_tables_of_the_page() -> None:
    """The page has a contact's fields as the code has them."""
    page = (Path(fields.__file__).parent / "README.md").read_text()
    assert "\n".join(fields.CONTACTS.markdown()[1:]) in page


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


ODD = with_mapping(CASES, DEALS, identify={"Account": "traits", "Account.Name": "traits.name"})


@settings(max_examples=50, deadline=None)
@given(EVENTS, st.sampled_from([MAPPER, CONTACTS, ODD]))
def test_no_event_is_too_odd(said_fields: dict[str, Any], mapper: Mapper) -> None:
    """Whatever stands in an event, it becomes valid JSON or an outcome, and nothing is raised."""
    said = mapper.item(Event(json.dumps(said_fields).encode()))
    if isinstance(said, Item):
        assert record(said)["attributes"]["type"] in (
            *("Lead", "Contact", "Account", "Web_Event__c"),
            *("Case", "Opportunity"),
        )
    else:
        assert isinstance(said, (Failed, Unsupported))
