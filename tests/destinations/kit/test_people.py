"""Companies, addresses, hashes, browsers and campaigns: what senders write, and how it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.kit import Event
from destinations.kit.addresses import is_email
from destinations.kit.browsers import browser_of
from destinations.kit.hashing import hashed, is_hashed
from destinations.kit.paths import find, plain_keys


def identified(**traits: object) -> Event:
    return Event(json.dumps({"type": "identify", "traits": traits}).encode())


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ({"company": {"id": 7, "name": "Acme"}}, [("7", "Acme", False)]),
        ({"company": "ACME"}, [(None, "ACME", False)]),
        ({"companies": [{"id": "c1", "name": "N"}, "M"]}, [("c1", "N", False), (None, "M", False)]),
        ({"company": {"id": "c9", "remove": True}}, [("c9", None, True)]),
        ({"company": {"id": "c1"}, "companies": [{"ID": "c1"}, None]}, [("c1", None, False)]),
        ({"company": [1, {"name": "x"}]}, []),
        ({"company": {"plan": "x"}, "companies": 5.5}, []),
        ({}, []),
    ],
)
def test_companies(
    traits: dict[str, Any], expected: list[tuple[str | None, str | None, bool]]
) -> None:
    """A user's companies are objects or names, one or a list; one may be marked to be left."""
    found = identified(**traits).companies
    assert [(one.id, one.name, one.is_left) for one in found] == expected


def test_key_of_a_company() -> None:
    """A company without id has one that its name makes, in any case; a group has no companies."""
    [one], [other] = identified(company="ACME").companies, identified(company="Acme").companies
    assert one.key == other.key
    assert len(one.key) == 32
    assert Event(b'{"type":"group","traits":{"company":"x"}}').companies == []


@pytest.mark.parametrize(
    ("fields", "accessor", "expected"),
    [
        ({"city": "Rome", "country": "IT", "street": "Via 1"}, "street", "Via 1"),
        ({"address": {"City": "Rome"}, "city": "Ulm"}, "city", "Rome"),
        ({"Zip_Code": 94105}, "postal_code", "94105"),
        ({"address": {"province": "RM"}}, "state", "RM"),
        ({"address": {"region": "Lazio", "state": "RM"}}, "region", "Lazio"),
        ({"address": "Via 1, Rome"}, "street", "Via 1, Rome"),
        ({"address": "Via 1", "street": "Via 2"}, "street", "Via 2"),
        ({"country_code": "IT"}, "country", "IT"),
        ({"country": "it"}, "country_code", "IT"),
        ({"address": {"country": "Italy"}}, "country_code", None),
        ({"address": {"country": "Italy", "countryCode": "it "}}, "country_code", "IT"),
        ({"address": {"country": "Italy"}, "country": "IT"}, "country_code", "IT"),
        ({"country": "ÖÄ"}, "country_code", None),
        ({"lastName": "Lee"}, "name", "Lee"),
        ({"name": None, "first_name": "Ann", "lastName": "Lee"}, "name", "Ann Lee"),
        ({"createdAt": "soon", "created": None}, "created", None),
    ],
)
def test_people(fields: dict[str, Any], accessor: str, expected: object) -> None:
    """Parts of an address stand in it or beside it, and parts of a name are a name."""
    assert getattr(identified(**fields), accessor) == expected


@pytest.mark.parametrize("event_type", ["page", "screen"])
def test_names_of_pages(event_type: str) -> None:
    """Name and category of a page or screen are properties, whichever of the two has them."""
    fields: dict[str, Any] = {"type": event_type, "name": "Pricing", "category": "Docs"}
    for properties in ({}, None, {"name": "Other", "x": 1}):
        one = Event(json.dumps(fields | {"properties": properties}).encode())
        assert one.properties == {**(properties or {}), "name": "Pricing", "category": "Docs"}
        assert (one.name, one.category) == ("Pricing", "Docs")
        assert one.proxy("properties.name") == "Pricing"
    inside = Event(json.dumps({"type": event_type, "properties": {"name": "P"}}).encode())
    assert (inside.name, inside.properties) == ("P", {"name": "P"})
    assert Event(b'{"type":"track","name":"x"}').properties == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("a@b.de", True), ("a.b+c@d-e.co.uk", True), ("ä@b.de", True)],
        *[("a@b", False), ("@b.de", False), ("a@.de", False), ("a@b.", False), ("a b@c.de", False)],
        *[("a@b@c.de", False), ("", False), ("a@" + "b" * 400 + ".de", False)],
    ],
)
def test_addresses(text: str, expected: bool) -> None:
    """An e-mail address has one @, and a dot inside of its host."""
    assert is_email(text) is expected


def test_hashes() -> None:
    """What is hashed already passes through, in small letters."""
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert hashed("hello") == hashed(digest) == hashed(digest.upper()) == digest
    assert [is_hashed(text) for text in (digest, digest[1:], digest[1:] + "g")] == [True] + 2 * [
        False
    ]


WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0.0.0 Safari/537.36",
            ("Chrome", "120.0", "Windows"),
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/120.0.0.0 Safari/537.36 Edg/120.1.2",
            ("Microsoft Edge", "120.1", "Windows"),
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
            ("Mobile Safari", "17.1", "iOS"),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
            "(KHTML, like Gecko) Version/17.1 Safari/605.1.15",
            ("Safari", "17.1", "Mac OS X"),
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
            ("Firefox", "121.0", "Linux"),
        ),
        (
            f"Mozilla/5.0 (Linux; Android 13; SM-S901B) {WEBKIT} SamsungBrowser/23.0 Chrome/115.0",
            ("Samsung Internet", "23.0", "Android"),
        ),
        ("curl/8", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_browsers(user_agent: str | None, expected: tuple[str | None, ...]) -> None:
    """A user agent names the browser that it is, not those that it claims to be like."""
    assert browser_of(user_agent) == expected


def test_campaign() -> None:
    """A campaign's fields are found with and without utm_, and only those that are said."""
    raw: dict[str, Any] = {"source": "news", "utm_medium": "email", "Name": "may", "term": None}
    campaign = Event(json.dumps({"context": {"campaign": raw}}).encode()).campaign
    assert campaign == {"source": "news", "medium": "email", "name": "may"}
    assert Event(b'{"context":{"campaign":"x"}}').campaign == {}


@given(
    st.dictionaries(st.sampled_from(["a_b", "aB", "A B", "ab", "a-b", "a.b"]), st.integers(0, 5)),
    st.randoms(use_true_random=False),
)
def test_order_of_keys(value: dict[str, int], random: Any) -> None:  # Any: hypothesis' Random
    """Of keys that are one in plain form the same is found, in whatever order they stand."""
    keys = list(value)
    random.shuffle(keys)
    other = {key: value[key] for key in keys}
    for path in ("ab", "a_b", "aB", "a.b"):
        assert find(value, path) == find(other, path)
    assert plain_keys(value) == plain_keys(other)
