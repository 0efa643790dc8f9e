"""What each type of event becomes in Intercom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.intercom.mapping import COMPANIES, Grouped, Identified, Mapper, Plan, Tracked
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


def companies(**traits: Any) -> list[tuple[Any, bool]]:  # Any: JSON
    said = planned(type="identify", userId="u", traits=traits)
    assert isinstance(said, Identified)
    return [(json.loads(one.body), one.is_left) for one in said.companies]


def company(mapper: Mapper = MAPPER, **fields: Any) -> Any:  # Any: JSON
    said = planned(mapper, type="group", **{"groupId": "g", **fields})
    assert isinstance(said, Grouped)
    return json.loads(said.company.body)


def test_minimal_identify() -> None:
    """An identify with an id and nothing else is a user with that external id."""
    said = planned(type="identify", userId="u")
    assert isinstance(said, Identified)
    assert (said.person.external_id, said.person.email, said.companies) == ("u", None, ())
    assert json.loads(said.person.body) == {
        "role": "user",
        "external_id": "u",
        "last_seen_at": SECONDS,
    }


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
        "last_seen_at": SECONDS,
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
        "last_seen_at": SECONDS,
    }
    said = contact(userId="a@b.de")
    assert (said["external_id"], said["email"]) == ("a@b.de", "a@b.de")


@pytest.mark.parametrize("value", [None, [], {}, "", [1], {"a": 1}, True])
def test_traits_of_the_wrong_type(value: object) -> None:
    """What a field cannot hold leaves it as it is."""
    names = ("email", "phone", "name", "avatar", "createdAt", "company")
    said = contact(userId="u", traits=dict.fromkeys(names, value))
    assert said == {"role": "user", "external_id": "u", "last_seen_at": SECONDS}


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
    """A user's companies are made too, each as a group with its fields would be."""
    own = {"id": 7, "name": "Acme", "employee_count": "12", "plan": "pro", "createdAt": 1700000000}
    assert companies(company=own) == [
        (
            {
                "company_id": "7",
                "name": "Acme",
                "plan": "pro",
                "size": 12,
                "remote_created_at": 1700000000,
            },
            False,
        )
    ]


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"company": {"id": "c9", "remove": True}}, [("c9", None, True)]),
        ({"Company": {"ID": "c9", "Remove": "true"}}, [("c9", None, True)]),
        ({"company": {"remove": True, "id": 9}}, [("9", None, True)]),
        ({"company": {"id": "c9", "remove": False}}, [("c9", None, False)]),
        ({"company": {"id": "c9", "remove": None}}, [("c9", None, False)]),
        ({"companies": [{"id": "c1", "name": "N"}]}, [("c1", "N", False)]),
        (
            {"companies": [None, {"id": "c1"}, {"id": 2, "remove": "True"}]},
            [("c1", None, False), ("2", None, True)],
        ),
        ({"companies": {"id": "c1"}}, [("c1", None, False)]),
        (
            {"company": {"id": "c0"}, "companies": [{"id": "c1"}, {"id": "c0"}]},
            [("c0", None, False), ("c1", None, False)],
        ),
        ({"company": {"companyId": "c1", "plan": "pro"}}, [("c1", None, False)]),
        ({"company": {}, "companies": []}, []),
        ({"company": {"plan": "pro"}, "companies": "  "}, []),
    ],
)
def test_companies(
    traits: dict[str, Any],  # Any: JSON
    expected: list[tuple[str, str | None, bool]],
) -> None:
    """Each company of either trait is joined, or left where it says so."""
    assert [
        (one["company_id"], one.get("name"), is_left) for one, is_left in companies(**traits)
    ] == expected


@pytest.mark.parametrize(
    "traits",
    [
        {"company": "ACME"},
        {"company": " acme "},
        {"companies": ["Acme"]},
        {"company": {"name": "Acme"}},
        {"companies": [{"Name": "ACME", "id": None}]},
    ],
)
def test_companies_without_id(traits: dict[str, Any]) -> None:  # Any: JSON
    """A company that has a name alone has the same id wherever and however it is written."""
    [(first, _)] = companies(company="Acme")
    [(one, is_left)] = companies(**traits)
    assert one["company_id"] == first["company_id"]
    assert len(one["company_id"]) == 32
    assert one["name"].casefold() == "acme"
    assert not is_left


def test_at_most_so_many_companies() -> None:
    """Companies beyond those that a conversation has room for are left out."""
    found = companies(companies=[f"c{number}" for number in range(COMPANIES + 5)])
    assert len(found) == COMPANIES


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, SECONDS),
        ({"context": {"active": True}}, SECONDS),
        ({"context": {"active": None}}, SECONDS),
        ({"context": {"active": False}}, None),
        ({"context": {"Active": "false"}}, None),
        ({"timestamp": None, "receivedAt": "2026-01-02T03:04:05Z"}, SECONDS),
        ({"timestamp": "soon"}, None),
        ({"traits": {"lastSeenAt": 1700000000}}, 1700000000),
        (
            {"traits": {"last_request_at": "1700000000000"}, "context": {"active": False}},
            1700000000,
        ),
        ({"traits": {"last_seen_at": "soon"}}, SECONDS),
    ],
)
def test_last_seen(fields: dict[str, Any], seen: int | None) -> None:  # Any: JSON
    """A contact was seen at the event's time, unless the context or a trait says otherwise."""
    said = MAPPER.plan(event_of(**{**AT, "type": "identify", "userId": "u", **fields}))
    assert isinstance(said, Identified)
    assert json.loads(said.person.body).get("last_seen_at") == seen


@pytest.mark.parametrize(
    ("traits", "field", "expected"),
    [
        ({"owner_id": "127"}, "owner_id", 127),
        ({"ownerId": 127}, "owner_id", 127),
        ({"owner_id": "Ann"}, "owner_id", None),
        ({"lastName": "Lee"}, "name", "Lee"),
        ({"last_name": "Lee", "name": None}, "name", "Lee"),
        ({"firstName": " Ann ", "lastName": 5}, "name", "Ann"),
        ({"unsubscribedFromEmails": "true"}, "unsubscribed_from_emails", True),
        ({"unsubscribed_from_emails": 0}, "unsubscribed_from_emails", False),
        ({"role": "admin"}, "role", "user"),
        ({"role": ["lead"]}, "role", "user"),
        ({"phone": 491}, "phone", "491"),
    ],
)
def test_fields_of_a_contact(
    traits: dict[str, Any],  # Any: JSON
    field: str,
    expected: object,
) -> None:
    """Each field has its type, whatever the sender's."""
    assert contact(userId="u", traits=traits).get(field) == expected


def test_unsubscribed_in_the_context() -> None:
    """The flag may stand where Segment's server libraries put it."""
    said = contact(userId="u", context={"Intercom": {"unsubscribedFromEmails": True}})
    assert said["unsubscribed_from_emails"] is True


def test_leads() -> None:
    """A lead is known by its address, and one that is a user already stays one."""
    said = planned(type="identify", userId="u", traits={"role": "Lead", "email": "a@b.de"})
    assert isinstance(said, Identified)
    assert (said.person.external_id, said.person.email) == (None, "a@b.de")
    assert said.person.first_body is not None
    assert json.loads(said.person.first_body) == {
        "role": "lead",
        "email": "a@b.de",
        "last_seen_at": SECONDS,
    }
    assert json.loads(said.person.body) == {"email": "a@b.de", "last_seen_at": SECONDS}
    assert isinstance(planned(type="identify", userId="u", traits={"role": "lead"}), Failed)


def test_minimal_track() -> None:
    """A track is a data event of its user, at its second."""
    assert data_event() == {"event_name": "E", "created_at": SECONDS, "user_id": "u"}
    said = planned(type="track", event="E", context={"traits": {"email": "a@b.de"}})
    assert isinstance(said, Tracked)
    assert json.loads(said.body) == {"event_name": "E", "created_at": SECONDS, "email": "a@b.de"}
    assert json.loads(said.person.body) == {"role": "user", "email": "a@b.de"}
    traits = {"last_name": "Lee"}
    said = planned(type="track", event="E", userId="u", context={"traits": traits})
    assert isinstance(said, Tracked)
    assert json.loads(said.person.body)["name"] == "Lee"


def test_full_track() -> None:
    """Properties are metadata: flat values, times as seconds, links and money."""
    properties = {
        "text": "ü😀",
        "number": 1.5,
        "flag": True,
        "nothing": None,
        "list": [1, None, {"b": [True]}],
        "nested": {"a": {"b": 2}, "c": "d"},
        "order_date": "2026-01-02T03:04:05Z",
        "expiry_date": 1767323045678,
        "article": {"url": "https://x", "value": "v"},
        "price": {"currency": "EUR", "amount": "100"},
        "revenue": "$12.34",
        "currency": "EUR",
        "empty": {},
    }
    assert data_event(properties=properties)["metadata"] == {
        "text": "ü😀",
        "number": 1.5,
        "flag": "true",
        "list.0": 1,
        "list.2.b.0": "true",
        "nested.a.b": 2,
        "nested.c": "d",
        "order_date": SECONDS,
        "expiry_date": SECONDS,
        "article": {"url": "https://x", "value": "v"},
        "price": {"amount": 100, "currency": "eur"},
        "revenue": {"amount": 1234, "currency": "eur"},
        "currency": "EUR",
    }


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"quiz": {"score": 3}, "tags": ["a"]}, {"quiz.score": 3, "tags.0": "a"}),
        ({"quiz": None, "tags": [None]}, None),
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": 1}),
        ({"a": {"b": 2}, "a.b": 1}, {"a.b": 1}),
        ({"a": [[1, [2]]]}, {"a.0.0": 1, "a.0.1.0": 2}),
        (
            {"price": {"amount": 1.5, "currency": "eur"}},
            {"price.amount": 1.5, "price.currency": "eur"},
        ),
        ({"x": {"Value": "v", "URL": "u"}}, {"x": {"value": "v", "url": "u"}}),
    ],
)
def test_nested_properties(properties: dict[str, Any], expected: object) -> None:  # Any: JSON
    """What is nested has keys of its own, by the path to it."""
    assert data_event(properties=properties).get("metadata") == expected


def test_deep_properties() -> None:
    """Below the eighth level what is left is JSON text."""
    value: Any = "end"  # Any: JSON
    for _ in range(10):
        value = {"a": value}
    assert data_event(properties=value)["metadata"] == {
        "a.a.a.a.a.a.a.a": '{"a":{"a":"end"}}',
    }


@pytest.mark.parametrize(
    ("properties", "event", "price"),
    [
        ({"revenue": 20, "currency": "EUR"}, "E", {"amount": 2000, "currency": "eur"}),
        ({"Revenue": "1,200.50", "Currency": "eur"}, "E", {"amount": 120050, "currency": "eur"}),
        ({"revenue": 20}, "E", {"amount": 2000, "currency": "usd"}),
        (
            {"revenue": 20, "products": [{"price": 20, "currency": "GBP"}]},
            "E",
            {"amount": 2000, "currency": "gbp"},
        ),
        ({"total": 30, "currency": "EUR"}, "Order Completed", {"amount": 3000, "currency": "eur"}),
        ({"total": 30, "currency": "EUR"}, "Quote Sent", None),
        ({"revenue": 20, "price": 5}, "E", 5),
        ({"revenue": 20, "Price": "5"}, "E", None),
        ({"revenue": "1,200"}, "E", None),
        ({"revenue": 0}, "E", None),
        ({"revenue": -5}, "E", None),
    ],
)
def test_price(properties: dict[str, Any], event: str, price: object) -> None:  # Any: JSON
    """A revenue is an amount of money as `price` as well, where the event has no price."""
    about = data_event(event=event, properties=properties)["metadata"]
    assert about.get("price") == price
    assert set(properties) <= {key.split(".")[0] for key in about}


def test_a_revenue_without_currency() -> None:
    """Where the settings name no currency, none is made up: the revenue is a number."""
    mapper = Mapper({}, {}, currency=None)
    said = planned(mapper, type="track", event="E", userId="u", properties={"revenue": 20})
    assert isinstance(said, Tracked)
    assert json.loads(said.body)["metadata"]["revenue"] == 20


def test_more_properties_than_there_is_room_for() -> None:
    """Money and the order have room first, then names by the alphabet, whatever their order."""
    properties: dict[str, Any] = {f"p{number:02}": number for number in range(40)}  # Any: JSON
    properties |= {"total": 5, "zone": {"a": 1}, "Order ID": "o", "a": {"b": 1}}
    about = data_event(properties=properties)["metadata"]
    assert list(about) == ["Order ID", "total", *(f"p{number:02}" for number in range(18))]
    turned = dict(reversed(properties.items()))
    assert data_event(properties=turned)["metadata"] == about
    loud = {name.upper(): value for name, value in properties.items()}
    assert list(data_event(properties=loud)["metadata"]) == [name.upper() for name in about]


def test_mapping() -> None:
    """Settings change fields; what is no field is an attribute, and a key of metadata."""
    mapper = Mapper(
        {"plan": "plan_name"},
        {},
        {
            "identify": {
                "phone": "traits.mobile",
                "Score": "number(traits.score)",
                "custom_attributes.Tier.Name": "traits.tier",
                "last_seen_at": "",
                "signed_up_at": "traits.joined",
            },
            "track": {
                "event_name": "'Shop: {event}'",
                "metadata.Plan": "properties.plan_name",
                "Level": "properties.level.number",
                "external_id": "properties.owner",
            },
            "group": {"size": "traits.seats", "Region": "traits.address.region"},
        },
    )
    said = planned(
        mapper,
        type="identify",
        userId="u",
        traits={
            "mobile": " 1 ",
            "score": "5",
            "tier": {"a": 1},
            "joined": "2023-11-14T22:13:20Z",
            "plan": "pro",
            "company": {"id": "c", "seats": "7"},
        },
    )
    assert isinstance(said, Identified)
    assert json.loads(said.person.body) == {
        "role": "user",
        "external_id": "u",
        "phone": "1",
        "signed_up_at": 1700000000,
        "custom_attributes": {"plan_name": "pro", "Score": 5, "Tier.Name": '{"a":1}'},
    }
    assert json.loads(said.companies[0].body) == {"company_id": "c", "size": 7}
    said = planned(
        mapper,
        type="track",
        event="E",
        userId="u",
        properties={"plan_name": "pro", "level": {"number": 3}, "owner": 9, "x": 1},
    )
    assert isinstance(said, Tracked)
    assert json.loads(said.body) == {
        "event_name": "Shop: E",
        "created_at": SECONDS,
        "user_id": "9",
        "metadata": {"Plan": "pro", "Level": 3, "x": 1, "level.number": 3},
    }
    group = company(mapper, traits={"seats": 5, "address": {"region": "RM"}})
    assert group == {"company_id": "g", "size": 5, "custom_attributes": {"Region": "RM"}}


def test_custom_events() -> None:
    """With "none" a track of the user's own name has the metadata of the mapping only."""
    mapper = Mapper({}, {}, {"track": {"Plan": "properties.plan"}}, "none")
    properties = {"plan": "pro", "revenue": 5}
    for event, keys in (("My Own", {"Plan"}), ("Order Completed", {"Plan", "revenue", "price"})):
        said = planned(mapper, type="track", event=event, userId="u", properties=properties)
        assert isinstance(said, Tracked)
        body = json.loads(said.body)
        assert body["event_name"] == event
        assert set(body["metadata"]) == keys


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
    ("traits", "expected"),
    [
        ({"monthlySpend": "1,200", "employees": "100-500"}, {}),
        (
            {"monthlySpend": "1,200.00", "employees": "100-500", "size": "7"},
            {"monthly_spend": 1200, "size": 7},
        ),
        ({"Monthly Spend": "€ 99.9", "Employee_Count": 3}, {"monthly_spend": 99, "size": 3}),
        ({"monthly_spend": 2**31, "size": -1}, {}),
        ({"monthly_spend": None, "employees": True, "industry": ["x"]}, {}),
        ({"website": 5, "name": {"a": 1}, "plan": " pro "}, {"website": "5", "plan": "pro"}),
    ],
)
def test_numbers_of_a_company(
    traits: dict[str, Any], expected: dict[str, Any]
) -> None:  # Any: JSON
    """A number that could mean two is none, wherever it stands; others are whole."""
    assert company(traits=traits) == {"company_id": "g", **expected}
    [(own, _)] = companies(company={"id": "g", **traits})
    assert own == {"company_id": "g", **expected}


def test_a_group_that_is_left() -> None:
    """A group with `remove` takes its user out of the company; without a user it says nothing."""
    said = planned(type="group", groupId="g", userId="u", traits={"remove": True})
    assert isinstance(said, Grouped)
    assert said.company.is_left
    assert planned(type="group", groupId="g", traits={"remove": True}) == Unsupported()


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
