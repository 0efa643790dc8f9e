"""What each type of event becomes in Mixpanel."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from destinations.kit import Event, Failed, Item, Outcome, Unsupported
from destinations.mixpanel.mapping import EVENT_BYTES, Mapper, Several, endpoints, insert_id

ENDPOINTS = endpoints("https://api.mixpanel.com", "T", None, None)
MAPPER = Mapper(ENDPOINTS, "T", "$group_id", page_names=False)
AT = {"timestamp": "2026-01-02T03:04:05.678Z", "messageId": "m-1"}


def mapped(mapper: Mapper = MAPPER, **fields: Any) -> Item | Several | Outcome:  # Any: JSON
    return mapper.item(Event(json.dumps({**AT, **fields}).encode()))


def body(said: Item | Several | Outcome) -> Any:  # Any: JSON
    assert isinstance(said, Item)
    return json.loads(said.body)


def test_track() -> None:
    """A track is an event with its time, its user, an id to drop repeats by, and the context."""
    said = mapped(
        type="track",
        event="Bought",
        userId="u",
        anonymousId="a",
        properties={"price": 3, "time": "tampered", "distinct_id": "tampered"},
        context={
            "ip": "1.2.3.4",
            "page": {"url": "https://x/"},
            "os": {"name": "iOS"},
            "groupId": "g",
        },
    )
    assert isinstance(said, Item)
    assert said.endpoint is ENDPOINTS.imports
    assert body(said) == {
        "event": "Bought",
        "properties": {
            "price": 3,
            "time": 1767323045678,
            "distinct_id": "u",
            "$user_id": "u",
            "$device_id": "a",
            "$insert_id": "m-1",
            "ip": "1.2.3.4",
            "$current_url": "https://x/",
            "$os": "iOS",
            "$group_id": "g",
        },
    }


@pytest.mark.parametrize(
    ("fields", "plain", "named"),
    [
        ({"type": "page", "name": "Home"}, "Loaded a Page", "Viewed Home Page"),
        ({"type": "page", "name": "P", "category": "C"}, "Loaded a Page", "Viewed C P Page"),
        ({"type": "page"}, "Loaded a Page", "Loaded a Page"),
        ({"type": "screen", "name": "S"}, "Loaded a Screen", "Viewed S Screen"),
    ],
)
def test_page_and_screen(fields: dict[str, Any], plain: str, named: str) -> None:
    """Pages and screens are events of one name each, or by setting of their own."""
    assert body(mapped(**fields))["event"] == plain
    names = Mapper(ENDPOINTS, "T", "$group_id", page_names=True)
    assert body(mapped(names, **fields))["event"] == named


def test_identify() -> None:
    """An identify sets the profile, with Mixpanel's names for the traits it knows."""
    said = mapped(
        type="identify", userId="u", traits={"email": "a@b.de", "first_name": "A", "x": 1}
    )
    assert isinstance(said, Item)
    assert said.endpoint is ENDPOINTS.engage
    assert body(said) == {
        "$token": "T",
        "$distinct_id": "u",
        "$ip": "0",
        "$set": {"$email": "a@b.de", "$first_name": "A", "$name": "A", "x": 1},
    }


def test_full_identify() -> None:
    """Traits in any case style have Mixpanel's names, unknown ones of any type stay as they are."""
    traits = {
        "Email": "ä@b.de",
        "firstName": "Änne",
        "last name": "O'Neill 😀",
        "username": "änne",
        "phone": 491,
        "avatar": "https://x/p.png",
        "created_at": 1700000000,
        "nested": {"a": [1, None]},
        "nothing": None,
    }
    said = mapped(
        type="identify", userId=12, anonymousId="a", context={"ip": "1.2.3.4"}, traits=traits
    )
    assert body(said) == {
        "$token": "T",
        "$distinct_id": "12",
        "$ip": "1.2.3.4",
        "$set": {
            "$email": "ä@b.de",
            "$first_name": "Änne",
            "$last_name": "O'Neill 😀",
            "$name": "Änne O'Neill 😀",
            "$username": "änne",
            "$phone": 491,
            "$avatar": "https://x/p.png",
            "$created": "2023-11-14T22:13:20Z",
            "nested": {"a": [1, None]},
            "nothing": None,
        },
    }


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2023-11-14", "2023-11-14T00:00:00Z"),
        ("2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20Z"),
        (1700000000, "2023-11-14T22:13:20Z"),
        (1700000000000, "2023-11-14T22:13:20Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("Tue, 14 Nov 2023 22:13:20 GMT", "2023-11-14T22:13:20Z"),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        (None, None),
        ([], None),
        (True, None),
    ],
)
@pytest.mark.parametrize("key", ["createdAt", "created_at", "Created", "$created"])
def test_times_of_traits(key: str, created: object, expected: str | None) -> None:
    """Times in all forms are ISO 8601 in UTC; what is none is left out."""
    said = body(mapped(type="identify", userId="u", traits={key: created}))
    assert said["$set"] == ({} if expected is None else {"$created": expected})


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        ("2023-11-14T22:13:20Z", 1700000000000),
        ("2023-11-14T23:13:20.5+01:00", 1700000000500),
        (1700000000, 1700000000000),
        (1700000000123, 1700000000123),
        ("1700000000", 1700000000000),
        ("1969-12-31T23:59:59Z", -1000),
    ],
)
def test_times_of_events(timestamp: object, milliseconds: int) -> None:
    """An event's time in any form is milliseconds."""
    said = body(mapped(type="track", event="E", userId="u", timestamp=timestamp))
    assert said["properties"]["time"] == milliseconds


def test_minimal_track() -> None:
    """A track of nobody is an event of nobody."""
    assert body(mapped(type="track", event="E")) == {
        "event": "E",
        "properties": {"time": 1767323045678, "distinct_id": "", "$insert_id": "m-1"},
    }


def test_full_context() -> None:
    """What Mixpanel has names for of the context goes along; what has the wrong type does not."""
    context = {
        "ip": "1.2.3.4",
        "page": {"url": "https://x/", "referrer": "https://y/"},
        "os": {"name": "iOS", "version": 17.2},
        "app": {"name": "A", "version": "1", "build": "2", "namespace": "de.a"},
        "device": {"manufacturer": "Apple", "model": ["x"]},
        "network": {"carrier": "C", "wifi": True},
        "screen": {"width": 1, "height": None},
        "campaign": {"source": "s", "medium": "m", "name": "n", "term": "t", "content": "c"},
        "unknown": {"a": 1},
        "locale": 5,
    }
    properties = body(mapped(type="track", event="E", anonymousId="a", context=context))[
        "properties"
    ]
    assert properties == {
        "time": 1767323045678,
        "distinct_id": "a",
        "$device_id": "a",
        "$insert_id": "m-1",
        "ip": "1.2.3.4",
        "$current_url": "https://x/",
        "$referrer": "https://y/",
        "$os": "iOS",
        "$os_version": 17.2,
        "$app_name": "A",
        "$app_version_string": "1",
        "$app_build_number": "2",
        "$app_namespace": "de.a",
        "$manufacturer": "Apple",
        "$carrier": "C",
        "$wifi": True,
        "$screen_width": 1,
        "utm_source": "s",
        "utm_medium": "m",
        "utm_campaign": "n",
        "utm_term": "t",
        "utm_content": "c",
    }


@pytest.mark.parametrize("wrong", [None, 5, "x", [], True])
def test_objects_of_the_wrong_type(wrong: object) -> None:
    """What should be an object and is none is as if it were not there."""
    said = mapped(
        type="track", event="E", userId="u", properties=wrong, context=wrong, traits=wrong
    )
    assert body(said)["properties"] == {
        "time": 1767323045678,
        "distinct_id": "u",
        "$user_id": "u",
        "$insert_id": "m-1",
    }
    assert body(mapped(type="identify", userId="u", traits=wrong))["$set"] == {}
    assert body(mapped(type="group", groupId="g", traits=wrong))["$set"] == {}


def test_group() -> None:
    """A group sets the group's profile; a trait called like the group key is its id."""
    said = mapped(type="group", groupId="g", traits={"name": "N"})
    assert isinstance(said, Item)
    assert said.endpoint is ENDPOINTS.groups
    expected = {"$token": "T", "$group_key": "$group_id", "$group_id": "g", "$set": {"$name": "N"}}
    assert body(said) == expected
    by_trait = body(mapped(type="group", groupId="g", traits={"$group_id": "12", "x": 1}))
    assert (by_trait["$group_id"], by_trait["$set"]) == ("12", {"x": 1})


def test_alias() -> None:
    """An alias links the new id to the previous one."""
    said = mapped(type="alias", userId="new", previousId="old")
    assert isinstance(said, Item)
    assert said.endpoint is ENDPOINTS.track
    assert body(said) == {
        "event": "$create_alias",
        "properties": {"distinct_id": "old", "alias": "new", "token": "T"},
    }


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "track"}, "no name"),
        ({"type": "track", "event": "x", "timestamp": "soon"}, "timestamp"),
        ({"type": "track", "event": "x", "properties": {"a": "x" * EVENT_BYTES}}, "at most"),
        ({"type": "identify", "userId": "u", "traits": {"a": "x" * EVENT_BYTES}}, "at most"),
        ({"type": "group", "groupId": "g", "traits": {"a": "x" * EVENT_BYTES}}, "at most"),
        ({"type": "identify"}, "no userId and no anonymousId"),
        ({"type": "group"}, "no groupId"),
        ({"type": "alias", "userId": "u"}, "no previousId"),
    ],
)
def test_what_mixpanel_would_refuse(fields: dict[str, Any], text: str) -> None:
    """An event that cannot be valid fails with the reason, and spoils no request."""
    said = mapped(**fields)
    assert isinstance(said, Failed)
    assert text in said.reason


def test_unknown_type() -> None:
    """A type that Mixpanel has nothing for is unsupported."""
    assert mapped(type="delete") == Unsupported()


def test_insert_id() -> None:
    """Ids that do not fit are hashed to 36 characters, the same each time."""
    long = Event(json.dumps({"messageId": "x" * 100}).encode())
    assert insert_id(long) == insert_id(Event(long.raw))
    assert len(insert_id(long)) == 36
    assert insert_id(Event(b'{"messageId":"ok-1"}')) == "ok-1"
    assert len(insert_id(Event(b"{}"))) == 36


def test_import_request() -> None:
    """An import is compressed, strict, and signed in with the token or the service account."""
    request = ENDPOINTS.imports.request([b"{}", b"{}"])
    assert request.url == "https://api.mixpanel.com/import?strict=1"
    assert json.loads(gzip.decompress(request.body)) == [{}, {}]
    assert request.headers["Authorization"] == "Basic VDo="
    account = endpoints("https://api-eu.mixpanel.com", "T", "1&2", ("u", "p")).imports
    assert account.url == "https://api-eu.mixpanel.com/import?strict=1&project_id=1%262"
    assert account.headers["Authorization"] == "Basic dTpw"
