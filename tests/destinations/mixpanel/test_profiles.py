"""Profiles of users and groups at Mixpanel: whose they are, what they hold, how it is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.kit import Event, Failed, Item
from destinations.kit.loading import settings_errors
from destinations.mixpanel import Mixpanel
from destinations.mixpanel.mapping import EVENT_BYTES, Several
from destinations.mixpanel.profiles import Operations
from tests.destinations.mixpanel.test_events import AT, ENDPOINTS, items, mapper

UUID = "0f0e1b6a-6d5c-4b7a-9a3e-2d1c0b9a8f7e"


def mapped(**fields: Any) -> Item | Several | Failed:  # Any: JSON
    made = fields.pop("mapper", None) or mapper()
    said = made.item(Event(json.dumps({**AT, "type": "identify", **fields}).encode()))
    assert isinstance(said, (Item, Several, Failed))
    return said


def updates(**fields: Any) -> list[Any]:  # Any: JSON
    said = mapped(**fields)
    assert not isinstance(said, Failed)
    return [json.loads(item.body) for item in items(said)]


def profile(**fields: Any) -> Any:  # Any: JSON
    [update] = updates(**fields)
    return update["$set"]


# --- whose ---


@pytest.mark.parametrize(
    ("ids", "id_merge", "expected"),
    [
        ({"userId": "u", "anonymousId": "a1"}, "simplified", "u"),
        ({"userId": None, "anonymousId": "a1"}, "simplified", "$device:a1"),
        ({"userId": "", "anonymous_id": "a1"}, "simplified", "$device:a1"),
        ({"userId": None, "anonymousId": 7}, "simplified", "$device:7"),
        ({"userId": None, "anonymousId": "$device:a1"}, "simplified", "$device:a1"),
        ({"userId": None, "anonymousId": "a1"}, "original", "a1"),
        ({"userId": 12}, "original", "12"),
    ],
)
def test_whose(ids: dict[str, Any], id_merge: str, expected: str) -> None:
    """A profile belongs to the distinct id that the events of its user have at Mixpanel."""
    said = updates(mapper=mapper(id_merge=id_merge), traits={"email": "z@y.co"}, **ids)
    assert said[0]["$distinct_id"] == expected


@pytest.mark.parametrize(
    ("anonymous_id", "event", "ids"),
    [
        (UUID, "$identify", {"$identified_id": "u", "$anon_id": UUID}),
        (UUID.upper(), "$identify", {"$identified_id": "u", "$anon_id": UUID.upper()}),
        ("a1", "$merge", {"$distinct_ids": ["u", "a1"]}),
    ],
)
def test_original_merge(anonymous_id: str, event: str, ids: dict[str, Any]) -> None:
    """With the original ID merge an identify makes one user of both ids, by a call of its own."""
    made = mapper(id_merge="original")
    said = mapped(mapper=made, anonymousId=anonymous_id)
    assert isinstance(said, Several)
    [merge] = said.more
    assert merge.endpoint is ENDPOINTS.merges
    properties = json.loads(merge.body)["properties"]
    assert len(properties.pop("$insert_id")) == 36
    assert json.loads(merge.body)["event"] == event
    assert properties == {"token": "T", "time": 1767323045678, "distinct_id": "u", **ids}


def test_nothing_to_merge() -> None:
    """Without both ids, or where they are one, or by the simplified merge, nothing is merged."""
    made = mapper(id_merge="original")
    assert len(updates(mapper=made)) == 1
    assert len(updates(mapper=made, anonymousId="u")) == 1
    assert len(updates(mapper=made, userId=None, anonymousId="a")) == 1
    assert len(updates(anonymousId=UUID)) == 1


# --- what ---


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"name": None, "firstName": "Ann", "lastName": "Lee"}, "Ann Lee"),
        ({"lastName": "Lee", "first_name": "Ann", "Name": None}, "Ann Lee"),
        ({"name": " ", "firstName": "Ann"}, "Ann"),
        ({"name": "", "Last Name": "Lee"}, "Lee"),
        ({"$name": "Ann L."}, "Ann L."),
        ({"name": "A", "firstName": "Ann"}, "A"),
        ({"name": 5}, 5),
        ({"name": None}, None),
        ({"name": []}, []),
    ],
)
def test_names(traits: dict[str, Any], expected: object) -> None:
    """A name that is none is made of first and last name; nothing is overwritten by null."""
    said = profile(traits=traits)
    assert said.get("$name") == expected
    assert "name" not in said
    assert ("$name" in said) is (expected is not None)


def test_nulls_of_reserved_traits() -> None:
    """A reserved trait of null leaves the profile as it is."""
    assert profile(traits={"email": None, "phone": None, "created_at": None, "$avatar": None}) == {}


@pytest.mark.parametrize(
    "traits",
    [
        {"address": {"city": "Rome", "state": "RM", "country": "it"}},
        {"address": {"City": "Rome", "Region": "RM", "Country Code": "IT"}},
        {"city": "Rome", "region": "RM", "country_code": "IT"},
        {"country": "IT", "province": "RM", "city": "Rome"},
    ],
)
def test_places(traits: dict[str, Any]) -> None:
    """City, region and country are those of the traits, and of the context where they have none."""
    place = {"$city": "Rome", "$region": "RM", "$country_code": "IT"}
    assert profile(traits=traits) == {**traits, **place}
    location = {"city": "Rome", "region": "RM", "countryCode": "IT"}
    assert profile(context={"location": location}) == place


def test_a_country_by_name() -> None:
    """A country's name is no code, and stays under the sender's own name."""
    assert profile(traits={"country": "Italy"}) == {"country": "Italy"}


def test_coordinates() -> None:
    """Coordinates stand beside the operation, where Mixpanel looks for them."""
    [said] = updates(context={"location": {"latitude": "41.9", "longitude": 12.5}})
    assert (said["$latitude"], said["$longitude"]) == (41.9, 12.5)
    [said] = updates(context={"location": {"latitude": 41.9}})
    assert "$latitude" not in said


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "ios",
            {
                "$ios_version": "17.2",
                "$ios_device_model": "M1",
                "$ios_app_release": "1.2",
                "$ios_app_version": "34",
            },
        ),
        (
            "android",
            {
                "$android_os": "OS",
                "$android_os_version": "17.2",
                "$android_model": "M1",
                "$android_manufacturer": "Acme",
                "$android_app_version": "1.2",
                "$android_app_version_code": "34",
            },
        ),
        ("tv", {}),
    ],
)
def test_devices(kind: str, expected: dict[str, Any]) -> None:
    """Device and app are the profile's, under the names of their system; tokens are collected."""
    device = {"type": kind, "model": "M1", "manufacturer": "Acme", "token": "t0k"}
    context = {
        "device": device,
        "os": {"name": "OS", "version": "17.2"},
        "app": {"version": "1.2", "build": "34"},
        "timezone": "Europe/Rome",
    }
    first, *more = updates(context=context)
    assert first["$set"] == {"$os": "OS", "$timezone": "Europe/Rome", **expected}
    tokens = [] if kind == "tv" else [{f"${kind}_devices": ["t0k"]}]
    assert [update["$union"] for update in more] == tokens


def test_who_was_not_there() -> None:
    """An identify that the user had no part in leaves the time when he was last seen."""
    [said] = updates(context={"active": False})
    assert said["$ignore_time"] is True
    assert "$ignore_time" not in updates(context={"active": True})[0]


@pytest.mark.parametrize(("ip", "expected"), [("1.2.3.4", "1.2.3.4"), (0, "0"), (None, "0")])
def test_addresses(ip: object, expected: str) -> None:
    """Without the user's address none is taken, and least of all that of this service."""
    assert updates(context={"ip": ip})[0]["$ip"] == expected


# --- how ---


def test_operations() -> None:
    """Traits are set, set once, united or appended, by settings, in one update an operation."""
    made = mapper(operations=Operations(["first_seen", "$email"], ["Tags", "one"], ["visits"]))
    traits = {"firstSeen": "x", "email": "a@b.de", "tags": ["a"], "one": 1, "visits": "v", "z": 2}
    said = mapped(mapper=made, traits=traits, context={"ip": "1.2.3.4"})
    assert isinstance(said, Several)
    head = {"$token": "T", "$distinct_id": "u", "$ip": "1.2.3.4"}
    assert [json.loads(item.body) for item in (said.first, *said.more)] == [
        {**head, "$set": {"z": 2}},
        {**head, "$set_once": {"firstSeen": "x", "$email": "a@b.de"}},
        {**head, "$union": {"tags": ["a"], "one": [1]}},
    ]
    # Twice appended is there twice, so that it waits until the rest is there.
    assert [json.loads(item.body) for item in said.then] == [{**head, "$append": {"visits": "v"}}]


@pytest.mark.parametrize("value", [None, []])
def test_nothing_to_add(value: object) -> None:
    """Nothing is no element of a list."""
    made = mapper(operations=Operations(union=["a"], append=["b"]))
    assert updates(mapper=made, traits={"a": value, "b": value})[0]["$set"] == {}
    assert len(updates(mapper=made, traits={"a": value, "b": value})) == 1


def test_first_referrer() -> None:
    """Where a user came from first is never overwritten."""
    page = {"initial_referrer": "https://y/", "initialReferringDomain": "y"}
    _, once = updates(context={"page": page})
    assert once["$set_once"] == {
        "$initial_referrer": "https://y/",
        "$initial_referring_domain": "y",
    }


def test_groups() -> None:
    """A group has the same operations, but for $append, which groups do not have."""
    made = mapper(operations=Operations(["founded"], ["tags"], ["seen"]), group_key="company_id")
    traits = {"name": "N", "founded": 1999, "tags": ["a"], "seen": "x", "companyId": 7}
    said = updates(type="group", groupId="g", mapper=made, traits=traits)
    head = {"$token": "T", "$group_key": "company_id", "$group_id": "7"}
    assert said == [
        {**head, "$set": {"$name": "N"}},
        {**head, "$set_once": {"founded": 1999}},
        {**head, "$union": {"tags": ["a"]}},
        {**head, "$union": {"seen": ["x"]}},
    ]


@pytest.mark.parametrize("named", [None, "", True, [], {}])
def test_no_group_of_a_trait(named: object) -> None:
    """A trait that is no id leaves the group that the event names."""
    said = updates(type="group", groupId="g", traits={"$group_id": named, "name": None})
    assert [(one["$group_id"], one["$set"]) for one in said] == [("g", {})]


def test_mapping() -> None:
    """Settings add, replace and remove fields of profiles; the rest of the traits goes along."""
    mapping: Any = {  # Any: a setting
        "identify": {"$plan": "upper(traits.plan)", "City": "traits.address.city", "$name": ""},
        "group": {"$email": "traits.email"},
    }
    made = mapper(mapping=mapping)
    address = {"city": "Rome", "street": "Via 1"}
    traits = {"plan": "pro", "address": address, "name": "Ann"}
    assert profile(mapper=made, traits=traits) == {
        "$plan": "PRO",
        "City": "Rome",
        "$city": "Rome",
        "address": address,
        "name": "Ann",
    }
    said = profile(type="group", groupId="g", mapper=made, traits={"email": "a@b.de"})
    assert said == {"$email": "a@b.de"}


def test_too_large() -> None:
    """An update that Mixpanel would refuse for its size fails, whatever its operation."""
    made = mapper(operations=Operations(["big"]))
    said = mapped(mapper=made, traits={"big": "x" * EVENT_BYTES, "small": 1})
    assert isinstance(said, Failed)
    assert "at most" in said.reason


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"id_merge": "legacy"}, "id_merge: "),
        ({"union": ["a", " "]}, "union.1: is empty"),
        ({"union": ["a"], "append": ["A"]}, "append.0: A stands in union already"),
        ({"increment_events": [""]}, "increment_events.0: is empty"),
        ({"mapping": {"$x": "traits."}}, "mapping.$x: "),
        ({"mapping": {"identify": {"$x": "nothing("}}}, "mapping.identify.$x: "),
        ({"custom_events": "some"}, "custom_events: "),
    ],
)
def test_settings(settings: dict[str, Any], error: str) -> None:
    """Each impossible setting is refused by its key path."""
    errors = settings_errors(Mixpanel, {"token": "T", **settings})
    assert len(errors) == 1
    assert errors[0].startswith(error)
