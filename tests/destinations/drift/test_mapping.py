"""What each type of event becomes in Drift."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.drift.mapping import Api, Identified, Mapper, Plan, Tracked
from destinations.kit import Failed, Outcome, Unsupported
from tests.harness.vendors import event_of

AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}
MILLISECONDS = 1767323045678
MAPPER = Mapper(attributes=True)


def planned(mapper: Mapper = MAPPER, **fields: Any) -> Plan | Outcome:  # Any: JSON
    return mapper.plan(event_of(**{**AT, **fields}))


def contact(**fields: Any) -> Any:  # Any: JSON
    said = planned(type="identify", **fields)
    assert isinstance(said, Identified)
    return json.loads(said.person.body)["attributes"]


def timeline(mapper: Mapper = MAPPER, **fields: Any) -> Any:  # Any: JSON
    said = planned(mapper, type="track", **{"event": "E", "userId": "u", **fields})
    assert isinstance(said, Tracked)
    return json.loads(said.body(None))


def test_minimal_identify() -> None:
    """An identify with an id and nothing else is a contact with that external id."""
    said = planned(type="identify", userId="u")
    assert isinstance(said, Identified)
    assert (said.person.external_id, said.person.email) == ("u", None)
    assert json.loads(said.person.body) == {"attributes": {"externalId": "u"}}


def test_full_identify() -> None:
    """Traits are attributes under their own names, nested ones by path; Drift's own are not."""
    traits = {
        "email": " ä@b.de ",
        "first_name": "Änne",
        "LastName": "O'Neill 😀",
        "phones": ["+49 1"],
        "company": {"name": "Acme"},
        "plan": "pro",
        "seats": 5,
        "isPaying": True,
        "nothing": None,
        "empty": "",
        "address": {"city": "Köln", "zip": 50667, "line2": "c/o B"},
        "quiz": {"score": 3, "by": {"day": [1]}, "none": None},
        "langs": ["de", "en"],
        "title": "CTO",
        "tags": "x",
        "events": 1,
        "social_profiles": "x",
        "id": "x",
        "external_id": "other",
    }
    assert contact(userId=12, traits=traits) == {
        "externalId": "12",
        "email": "ä@b.de",
        "name": "Änne O'Neill 😀",
        "phone": "+49 1",
        "company": "Acme",
        "plan": "pro",
        "seats": 5,
        "isPaying": True,
        "city": "Köln",
        "postalCode": "50667",
        "line2": "c/o B",
        "quiz.score": 3,
        "quiz.by.day": "[1]",
        "langs": '["de","en"]',
        "title": "CTO",
        "employmentTitle": "CTO",
    }


def test_by_address() -> None:
    """Who has no id is known by the address alone; an id that is one is both."""
    assert contact(anonymousId="a", traits={"email": "a@b.de"}) == {"email": "a@b.de"}
    assert contact(userId="a@b.de") == {"externalId": "a@b.de", "email": "a@b.de"}


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"company": "Acme"}, {"company": "Acme"}),
        ({"companies": [{"name": "Acme"}]}, {"company": "Acme"}),
        ({"companies": [None, "Acme"]}, {"company": "Acme"}),
        ({"company": {"name": "Acme", "remove": True}}, {}),
        (
            {"company": {"id": "c", "Name": "Acme", "Remove": "true"}, "companies": ["B"]},
            {"company": "B"},
        ),
        ({"last_name": "Lee"}, {"name": "Lee"}),
        ({"LastName": "Lee", "firstName": None}, {"name": "Lee"}),
        ({"city": "Rome", "Zip": 184}, {"city": "Rome", "Zip": 184, "postalCode": "184"}),
        ({"address": "Via 1, Rome"}, {"address": "Via 1, Rome", "street": "Via 1, Rome"}),
        ({"address": {"Country Code": "IT"}}, {"country": "IT"}),
        ({"description": "x"}, {"description": "x", "bio": "x"}),
        ({"seats": "5"}, {"seats": "5"}),
    ],
)
def test_fields(traits: dict[str, Any], expected: dict[str, Any]) -> None:  # Any: JSON
    """Companies, names and addresses are read by the kit's rules, whatever their form."""
    assert contact(userId="u", traits=traits) == {"externalId": "u", **expected}


def test_deep_traits() -> None:
    """Below the eighth level, and under long paths, what is left is JSON text."""
    value: Any = "end"  # Any: JSON
    for _ in range(10):
        value = {"a": value}
    key = "k" * 300
    assert contact(userId="u", traits={**value, key: {"b": 1}}) == {
        "externalId": "u",
        "a.a.a.a.a.a.a.a": '{"a":{"a":"end"}}',
        key: '{"b":1}',
    }


def test_mapping() -> None:
    """Settings change attributes of contacts and of timeline events, and who they are of."""
    mapper = Mapper(
        attributes=False,
        mapping={
            "identify": {"bio": False, "Score": "number(traits.score)", "email": "traits.mail"},
            "track": {
                "event": "'Shop: {event}'",
                "Plan": "properties.plan",
                "attributes.event": "properties.kind",
                "externalId": "properties.owner",
            },
        },
    )
    traits = {"description": "x", "score": "5", "mail": "a@b.de"}
    said = planned(mapper, type="identify", traits=traits)
    assert isinstance(said, Identified)
    assert said.person.email == "a@b.de"
    assert json.loads(said.person.body)["attributes"] == {
        "description": "x",
        "Score": 5,
        "email": "a@b.de",
    }
    assert timeline(mapper, properties={"plan": 1, "kind": "x", "owner": 9, "other": 1}) == {
        "externalId": "9",
        "event": "Shop: E",
        "createdAt": MILLISECONDS,
        "attributes": {"Plan": "1", "event": "x"},
    }


def test_custom_events() -> None:
    """With "none" a track of the user's own name has the attributes of the mapping only."""
    mapper = Mapper(attributes=True, mapping={"track": {"P": "properties.p"}}, custom_events="none")
    assert timeline(mapper, properties={"p": "1", "q": 2})["attributes"] == {"P": "1"}
    spec = timeline(mapper, event="Order Completed", properties={"p": "1", "q": 2})
    assert spec["attributes"] == {"P": "1", "q": "2"}


@pytest.mark.parametrize("value", [None, [], {}, ""])
def test_traits_of_the_wrong_type(value: object) -> None:
    """What an attribute cannot hold leaves it as it is."""
    names = ("email", "phone", "name", "company", "plan")
    assert contact(userId="u", traits=dict.fromkeys(names, value)) == {"externalId": "u"}


def test_minimal_track() -> None:
    """A track is an event on its user's timeline, at its millisecond."""
    assert timeline() == {"externalId": "u", "event": "E", "createdAt": MILLISECONDS}


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        ("2023-11-14T22:13:20+00:00", 1700000000000),
        ("2023-11-14T23:13:20.5+01:00", 1700000000500),
        (1700000000, 1700000000000),
        (1700000000123, 1700000000123),
        ("1700000000", 1700000000000),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        (None, None),
        (-1, None),
    ],
)
def test_times(timestamp: object, milliseconds: int | None) -> None:
    """Times in all forms are milliseconds; without one Drift takes the time of receipt."""
    assert timeline(timestamp=timestamp).get("createdAt") == milliseconds


def test_full_track() -> None:
    """Properties go along as text; by setting they stay away."""
    properties = {"text": "ü😀", "number": 1.5, "flag": True, "nothing": None, "nested": {"a": [1]}}
    assert timeline(properties=properties)["attributes"] == {
        "text": "ü😀",
        "number": "1.5",
        "flag": "true",
        "nested": '{"a":[1]}',
    }
    assert "attributes" not in timeline(Mapper(attributes=False), properties=properties)


def test_a_timeline_by_drifts_own_id() -> None:
    """A contact without an external id is named by the id that Drift gave it."""
    said = planned(type="track", event="E", context={"traits": {"email": "a@b.de"}})
    assert isinstance(said, Tracked)
    assert json.loads(said.body("15811408544"))["contactId"] == 15811408544
    assert json.loads(said.person.body) == {"attributes": {"email": "a@b.de"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "identify", "anonymousId": "a"}, Unsupported()),
        ({"type": "track", "event": "E", "anonymousId": "a"}, Unsupported()),
        ({"type": "track", "event": "E", "properties": {"email": "a@b.de"}}, Unsupported()),
        ({"type": "track", "userId": "u"}, Failed("the event has no name: Drift needs one")),
        ({"type": "page", "userId": "u"}, Unsupported()),
        ({"type": "screen", "userId": "u"}, Unsupported()),
        ({"type": "group", "userId": "u", "groupId": "g"}, Unsupported()),
        ({"type": "alias", "userId": "u", "previousId": "a"}, Unsupported()),
        ({"type": "delete"}, Unsupported()),
        ({}, Unsupported()),
    ],
)
def test_what_drift_has_no_use_for(fields: dict[str, Any], expected: Outcome) -> None:
    """Visitors without id and address are no contacts; what lacks a name has failed."""
    assert planned(**fields) == expected


def test_ids_in_queries() -> None:
    """Whatever is in an id or address, it stays one parameter."""
    api = Api("https://driftapi.com")
    assert api.by_external_id("a&b=ü/#").url == (
        "https://driftapi.com/contacts?idType=external&id=a%26b%3D%C3%BC%2F%23"
    )
    assert api.by_email("a+b@c.de").url == "https://driftapi.com/contacts?email=a%2Bb%40c.de"
