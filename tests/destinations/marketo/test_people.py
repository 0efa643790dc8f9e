"""Who a person is at Marketo, what nobody could know, and what settings make of an event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.kit import Delivered, Failed, Item, Request, Response, Unsupported
from destinations.kit.loading import settings_errors
from destinations.marketo import Marketo
from destinations.marketo.mapping import Activity, ActivityType, Mapper, endpoints
from tests.destinations.marketo.test_mapping import BASE, Said, activity, mapped, record
from tests.harness.destinations import answered_by, destination
from tests.harness.vendors import answer, event_of, is_token_request

OTHERS = endpoints(BASE, "email", ["userId__c", "anonymousId__c"], "Europe")
IDS: Any = {"user_id_field": "userId__c", "anonymous_id_field": "anonymousId__c"}
BOUGHT = {"Bought": ActivityType(7)}
BY_ANY = Mapper(OTHERS, "email", {}, BOUGHT, **IDS)
BY_ID = Mapper(endpoints(BASE, "userId__c"), "userId__c", {}, BOUGHT)
NOBODY: list[dict[str, Any]] = [
    {},
    {"anonymousId": "a"},
    {"userId": "u"},
    {"userId": 12, "anonymousId": "a"},
    {"anonymousId": "a", "traits": {"email": 5}},
    {"anonymousId": "a", "traits": {"email": None}, "context": {"traits": {"email": " "}}},
    {"anonymousId": "a", "context": {"traits": ["a@b.de"]}},
]


# --- who ---


@pytest.mark.parametrize("kind", ["identify", "track"])
@pytest.mark.parametrize("fields", NOBODY)
def test_nobody(kind: str, fields: dict[str, Any]) -> None:
    """A visitor without an address is nobody that Marketo knows, and no mistake of the sender's."""
    assert mapped(type=kind, event="Bought", properties={"name": "x"}, **fields) == Unsupported()


@pytest.mark.parametrize("kind", ["identify", "track"])
def test_nobody_by_user_id(kind: str) -> None:
    """The same holds for an event without a user id, where people are found by it."""
    said = mapped(BY_ID, type=kind, event="Bought", anonymousId="a", traits={"email": "a@b.de"})
    assert said == Unsupported()


def lookup(said: Said) -> tuple[Any, Any]:  # Any: JSON
    """The field that a person is looked up by, and their record."""
    item = said.person if isinstance(said, Activity) else said
    assert isinstance(item, Item)
    request = json.loads(item.endpoint.request([item.body]).body)
    assert request["partitionName"] == "Europe"
    return request["lookupField"], request["input"][0]


@pytest.mark.parametrize(
    ("fields", "field", "found"),
    [
        ({"userId": "u", "traits": {"email": "a@b.de"}}, "email", {"email": "a@b.de"}),
        ({"userId": "a@b.de"}, "email", {"email": "a@b.de"}),
        ({"userId": "u", "anonymousId": "a"}, "userId__c", {"userId__c": "u"}),
        ({"userId": 12}, "userId__c", {"userId__c": "12"}),
        ({"userId": "u", "traits": {"email": "ä@b.de"}}, "userId__c", {"userId__c": "u"}),
        ({"anonymousId": "a"}, "anonymousId__c", {"anonymousId__c": "a"}),
    ],
)
def test_who_is_found(fields: dict[str, Any], field: str, found: dict[str, Any]) -> None:
    """A person is found by address, user id or anonymous id, the first that there is."""
    said = mapped(BY_ANY, type="track", event="Bought", **fields)
    assert isinstance(said, Activity)
    assert lookup(said) == (field, found)
    assert OTHERS.is_lookup(said.person.endpoint)
    person = mapped(BY_ANY, type="identify", **fields)
    assert isinstance(person, Item)
    by, everything = lookup(person)
    assert by == field
    assert found.items() <= everything.items()
    assert not OTHERS.is_lookup(person.endpoint)


def test_ids_of_a_person() -> None:
    """An identify leaves the user id on the person, so that events without address find it.

    The anonymous id may be that of a visitor who is a person already, and no two may have it.
    """
    said = mapped(BY_ANY, type="identify", userId="u", anonymousId="a", traits={"email": "a@b.de"})
    assert lookup(said)[1] == {"email": "a@b.de", "userId__c": "u"}


def test_a_friends_address() -> None:
    """A property is whose event it is only where nothing else says so."""
    friend = {"email": "friend@x.de", "name": "x"}
    context = {"traits": {"email": "a@b.de"}}
    fields: dict[str, Any] = {"type": "track", "event": "Bought", "properties": friend}
    known: list[dict[str, Any]] = [{"context": context}, {"userId": "a@b.de"}]
    for whose in known:
        said = mapped(**fields, **whose)
        assert isinstance(said, Activity)
        assert record(said.person) == {"email": "a@b.de"}
    said = mapped(**fields)
    assert isinstance(said, Activity)
    assert record(said.person) == {"email": "friend@x.de"}


async def test_people_of_several_fields() -> None:
    """Each person is looked up in a request of its field, and has its own activity."""

    def said(request: Request) -> Response:
        if is_token_request(request):
            return answer(200, {"access_token": "A", "expires_in": 3599})
        records = json.loads(request.body)["input"]
        known = {"a@b.de": 1, "u": 2, "a": 3}
        rows = [
            {"id": known.get(next(iter(one.values())), 9), "status": "updated"} for one in records
        ]
        return answer(200, {"success": True, "result": rows})

    settings = {
        "endpoint": BASE,
        "client_id": "i",
        "client_secret": "s",
        "activities": {"Bought": {"type_id": 7}},
        **IDS,
    }
    at = {"type": "track", "event": "Bought", "timestamp": "2026-01-02T03:04:05Z"}
    people: list[dict[str, Any]] = [{"userId": "a@b.de"}, {"userId": "u"}, {"anonymousId": "a"}]
    with answered_by(said) as asked:
        outcomes = await destination("marketo", settings).deliver(
            [event_of(**at, **person) for person in people]
        )
    assert outcomes == [Delivered()] * 3
    *_, added = (json.loads(request.body)["input"] for request in asked if request.body)
    assert [one["leadId"] for one in added] == [1, 2, 3]


# --- what ---


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"name": None, "first_name": "Ann", "lastName": "Lee"}, ("Ann", "Lee")),
        ({"Last Name": "Lee", "name": "Ann B"}, ("Ann", "Lee")),
        ({"firstName": " ", "name": "Ann Lee"}, ("Ann", "Lee")),
        ({"firstName": ["x"], "name": 5}, (None, None)),
    ],
)
def test_names(traits: dict[str, Any], expected: tuple[object, object]) -> None:
    """First and last name are those given, else the parts of the whole name; no null hides them."""
    said = record(mapped(type="identify", userId="a@b.de", traits=traits))
    assert (said.get("firstName"), said.get("lastName")) == expected


@pytest.mark.parametrize(
    "traits",
    [
        {"address": {"street": "1 Road", "city": "Köln", "state": "NW", "postalCode": "50667"}},
        {"address": {"line1": "1 Road", "City": "Köln", "region": "NW", "zip": 50667}},
        {"street": "1 Road", "city": "Köln", "Region": "NW", "zip_code": "50667"},
        {"postcode": "50667", "province": "NW", "city": "Köln", "street": "1 Road"},
        {"address": "1 Road", "city": "Köln", "state": "NW", "Postal Code": "50667"},
    ],
)
def test_addresses(traits: dict[str, Any]) -> None:
    """An address is the same in an object, beside it, and by all names of its parts."""
    assert record(mapped(type="identify", userId="a@b.de", traits=traits)) == {
        "email": "a@b.de",
        "address": "1 Road",
        "city": "Köln",
        "state": "NW",
        "postalCode": "50667",
    }


@pytest.mark.parametrize(
    ("traits", "field", "expected"),
    [
        ({"phone": 491}, "phone", "491"),
        ({"phones": ["+49 1", "+49 2"]}, "phone", "+49 1"),
        ({"jobTitle": "CTO"}, "title", "CTO"),
        ({"title": "CTO", "position": "x"}, "title", "CTO"),
        ({"mobile": "+49 2"}, "mobilePhone", "+49 2"),
        ({"birthday": "1990-05-06T23:00:00-05:00"}, "dateOfBirth", "1990-05-06"),
    ],
)
def test_fields(traits: dict[str, Any], field: str, expected: object) -> None:
    """What senders call by several names is one field."""
    assert record(mapped(type="identify", userId="a@b.de", traits=traits))[field] == expected


def test_mapping() -> None:
    """Settings add, replace and remove fields; objects and lists become JSON text."""
    made = Mapper(
        endpoints(BASE, "email"),
        "email",
        {"plan": "plan__c"},
        {},
        mapping={
            "company": "@company_name",
            "score__c": "number(traits.score)",
            "tags__c": "traits.tags",
            "fax": "",
            "identify": {"title": "upper(traits.title)"},
        },
    )
    traits = {"company": {"name": "Acme"}, "score": "7", "tags": ["ü"], "fax": 1, "title": "cto"}
    said = record(mapped(made, type="identify", userId="a@b.de", traits={**traits, "plan": "p"}))
    assert said == {
        "email": "a@b.de",
        "company": "Acme",
        "score__c": 7,
        "tags__c": '["ü"]',
        "title": "CTO",
        "plan__c": "p",
    }


def test_mapping_cannot_lose_a_person() -> None:
    """What a person is found by is what it is, whatever settings map into its field."""
    made = Mapper(endpoints(BASE, "email"), "email", {}, {}, mapping={"email": "'x@y.z'"})
    assert record(mapped(made, type="identify", userId="a@b.de")) == {"email": "a@b.de"}


def test_attributes_by_expressions() -> None:
    """Attributes may be expressions over the whole event, and win over those by path."""
    mapping: Any = {
        "worth": "@worth",
        "skus": "each(@products, 'sku')",
        "total": "1",
        "none": "@ip",
    }
    made = Mapper(
        endpoints(BASE, "email"),
        "email",
        {},
        {"Bought": ActivityType(7, None, {"total": "total", "url": "url"}, mapping)},
    )
    properties = {"total": "12.50", "products": [{"sku": "a"}, {"sku": "b"}], "url": None}
    said = mapped(made, type="track", event="Bought", userId="a@b.de", properties=properties)
    assert activity(said)["attributes"] == [
        {"apiName": "total", "value": 1},
        {"apiName": "worth", "value": 12.5},
        {"apiName": "skus", "value": '["a","b"]'},
    ]


@pytest.mark.parametrize("name", ["Order Completed", "order_completed", "ORDER-COMPLETED"])
def test_names_of_events(name: str) -> None:
    """An event is the activity of its name in any case style; of two, that of its very name."""
    both = {"Order Completed": ActivityType(1), "order_completed": ActivityType(2)}
    made = Mapper(endpoints(BASE, "email"), "email", {}, both)
    said = activity(mapped(made, type="track", event=name, userId="a@b.de"))
    assert said["activityTypeId"] == (2 if name == "order_completed" else 1)
    assert said["primaryAttributeValue"] == name


def test_a_missing_primary_attribute() -> None:
    """An activity without its primary attribute is the sender's mistake, and says so."""
    said = mapped(type="track", event="Bought", userId="a@b.de", properties={"name": None})
    assert isinstance(said, Failed)
    assert "primary attribute" in said.reason


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"user_id_field": " "}, "user_id_field: is empty"),
        ({"anonymous_id_field": ""}, "anonymous_id_field: is empty"),
        ({"partition": ""}, "partition: is empty"),
        ({"lookup_field": "id__c", "user_id_field": "u__c"}, "user_id_field: lookup_field holds"),
        ({"mapping": {"x": "traits."}}, "mapping.x: "),
        ({"mapping": {"track": {"x": "@ip"}}}, "mapping.track: only an identify"),
        (
            {"activities": {"Bought": {"type_id": 1, "mapping": {"x": "nothing("}}}},
            "activities.Bought.mapping.x: ",
        ),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    given = {"endpoint": BASE, "client_id": "i", "client_secret": "s", **settings}
    errors = settings_errors(Marketo, given)
    assert len(errors) == 1, errors
    assert errors[0].startswith(error)
