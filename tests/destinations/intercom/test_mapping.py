"""What each type of event becomes in Intercom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.intercom.mapping import Grouped, Identified, Mapper, Plan, Tracked
from destinations.kit import Failed, Outcome, Unsupported
from tests.harness.vendors import event_of

AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}
SECONDS = 1767323045
MAPPER = Mapper({"plan": "plan_name", "nested.value": "Nested", "trial": "trial_ends_at"}, {})


def planned(mapper: Mapper = MAPPER, **fields: Any) -> Plan | Outcome:  # Any: JSON
    return mapper.plan(event_of(**AT, **fields))


def contact(**fields: Any) -> Any:  # Any: JSON
    said = planned(type="identify", **fields)
    assert isinstance(said, Identified)
    return json.loads(said.person.body)


def data_event(**fields: Any) -> Any:  # Any: JSON
    said = planned(type="track", **{"event": "E", "userId": "u", **fields})
    assert isinstance(said, Tracked)
    return json.loads(said.body)


def company(mapper: Mapper = MAPPER, **fields: Any) -> Any:  # Any: JSON
    said = planned(mapper, type="group", **{"groupId": "g", **fields})
    assert isinstance(said, Grouped)
    return json.loads(said.company.body)


def test_minimal_identify() -> None:
    """An identify with an id and nothing else is a user with that external id."""
    said = planned(type="identify", userId="u")
    assert isinstance(said, Identified)
    assert (said.person.external_id, said.person.email, said.company) == ("u", None, None)
    assert json.loads(said.person.body) == {"role": "user", "external_id": "u"}


def test_full_identify() -> None:
    """Traits in any case style go to the contact's fields, those of settings to attributes."""
    traits = {
        "email": " ä@b.de ",
        "first_name": "Änne",
        "LastName": "O'Neill 😀",
        "phone": "+49 1",
        "photoUrl": "https://x/p.png",
        "created_at": "2023-11-14T22:13:20Z",
        "unsubscribed_from_emails": True,
        "plan": "pro",
        "nested": {"value": [1]},
        "trial": "2026-01-02T03:04:05Z",
        "unknown": "dropped",
    }
    assert contact(userId=12, traits=traits) == {
        "role": "user",
        "external_id": "12",
        "email": "ä@b.de",
        "phone": "+49 1",
        "name": "Änne O'Neill 😀",
        "avatar": "https://x/p.png",
        "signed_up_at": 1700000000,
        "unsubscribed_from_emails": True,
        "custom_attributes": {
            "plan_name": "pro",
            "Nested": "[1]",
            "trial_ends_at": SECONDS,
        },
    }


def test_by_address() -> None:
    """Who has no id is known by the address alone; an id that is one is both."""
    assert contact(anonymousId="a", traits={"email": "a@b.de"}) == {
        "role": "user",
        "email": "a@b.de",
    }
    said = contact(userId="a@b.de")
    assert (said["external_id"], said["email"]) == ("a@b.de", "a@b.de")


@pytest.mark.parametrize("value", [None, [], {}, "", [1], {"a": 1}, True])
def test_traits_of_the_wrong_type(value: object) -> None:
    """What a field cannot hold leaves it as it is."""
    names = ("email", "phone", "name", "avatar", "createdAt", "company")
    said = contact(userId="u", traits=dict.fromkeys(names, value))
    assert said == {"role": "user", "external_id": "u"}


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        ("2023-11-14T22:13:20+00:00", 1700000000),
        (1700000000, 1700000000),
        (1700000000000, 1700000000),
        ("1700000000", 1700000000),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        (-1, None),
    ],
)
def test_times(created: object, seconds: int | None) -> None:
    """Times in all forms are seconds, and what is none is left out."""
    assert contact(userId="u", traits={"createdAt": created}).get("signed_up_at") == seconds


def test_company_of_a_user() -> None:
    """A user's company is made too, where it has an id."""
    traits = {"company": {"id": 7, "name": "Acme", "employee_count": "12", "plan": "pro"}}
    said = planned(type="identify", userId="u", traits=traits)
    assert isinstance(said, Identified)
    assert said.company is not None
    assert json.loads(said.company.body) == {
        "company_id": "7",
        "name": "Acme",
        "plan": "pro",
        "size": 12,
    }
    named = planned(type="identify", userId="u", traits={"company": {"name": "Acme"}})
    assert isinstance(named, Identified)
    assert named.company is None


def test_minimal_track() -> None:
    """A track is a data event of its user, at its second."""
    assert data_event() == {"event_name": "E", "created_at": SECONDS, "user_id": "u"}
    said = planned(type="track", event="E", context={"traits": {"email": "a@b.de"}})
    assert isinstance(said, Tracked)
    assert json.loads(said.body) == {"event_name": "E", "created_at": SECONDS, "email": "a@b.de"}
    assert json.loads(said.person.body) == {"role": "user", "email": "a@b.de"}


def test_full_track() -> None:
    """Properties are metadata: flat values, times as seconds, links and money; ten of them."""
    properties = {
        "text": "ü😀",
        "number": 1.5,
        "flag": True,
        "nothing": None,
        "list": [1],
        "nested": {"a": 1},
        "order_date": "2026-01-02T03:04:05Z",
        "article": {"url": "https://x", "value": "v"},
        "price": {"amount": 100, "currency": "eur"},
        "revenue": "$12.34",
        "currency": "EUR",
        "a": 1,
        "b": 2,
        "c": 3,
        "dropped": 4,
    }
    assert data_event(properties=properties)["metadata"] == {
        "text": "ü😀",
        "number": 1.5,
        "flag": "true",
        "order_date": SECONDS,
        "article": {"url": "https://x", "value": "v"},
        "price": {"amount": 100, "currency": "eur"},
        "revenue": {"amount": 1234, "currency": "eur"},
        "currency": "EUR",
        "a": 1,
        "b": 2,
    }


def test_minimal_group() -> None:
    """A group with an id and nothing else is a company; its user belongs to it."""
    assert company() == {"company_id": "g"}
    said = planned(type="group", groupId="g", userId="u", context={"traits": {"name": "Ann"}})
    assert isinstance(said, Grouped)
    assert said.person is not None
    assert json.loads(said.person.body) == {"role": "user", "external_id": "u", "name": "Ann"}


def test_full_group() -> None:
    """Traits of a group are the company's, and never its user's."""
    mapper = Mapper({}, {"tier": "Tier"})
    traits = {
        "name": " Acme ",
        "email": "group@acme.example",
        "plan": "pro",
        "website": "https://acme.example",
        "industry": "Tools",
        "employees": 12.7,
        "monthly_spend": "$99",
        "createdAt": 1700000000,
        "tier": {"a": 1},
    }
    assert company(mapper, traits=traits) == {
        "company_id": "g",
        "name": "Acme",
        "plan": "pro",
        "website": "https://acme.example",
        "industry": "Tools",
        "size": 12,
        "monthly_spend": 99,
        "remote_created_at": 1700000000,
        "custom_attributes": {"Tier": '{"a":1}'},
    }
    said = planned(mapper, type="group", groupId="g", traits=traits)
    assert isinstance(said, Grouped)
    assert said.person is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "identify", "anonymousId": "a"}, Unsupported()),
        ({"type": "track", "event": "E", "anonymousId": "a"}, Unsupported()),
        ({"type": "track", "userId": "u"}, Failed),
        ({"type": "track", "event": "E", "userId": "u", "timestamp": "soon"}, Failed),
        ({"type": "group", "userId": "u"}, Failed),
        ({"type": "page", "userId": "u"}, Unsupported()),
        ({"type": "screen", "userId": "u"}, Unsupported()),
        ({"type": "alias", "userId": "u", "previousId": "a"}, Unsupported()),
        ({"type": "delete"}, Unsupported()),
        ({}, Unsupported()),
    ],
)
def test_what_intercom_has_no_use_for(fields: dict[str, Any], expected: Any) -> None:  # Any: JSON
    """Visitors without id and address are no contacts; what lacks a name or id has failed."""
    said = MAPPER.plan(event_of(**{**AT, **fields}))
    assert said == expected or (isinstance(said, Failed) and expected is Failed)
