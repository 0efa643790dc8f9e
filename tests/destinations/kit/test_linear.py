"""Text of any length costs linear time: ten times the text, at most fifteen times the time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from destinations.kit import Event, to_datetime
from destinations.kit.addresses import is_email
from destinations.kit.browsers import browser_of
from destinations.kit.hashing import hashed
from destinations.kit.numbers import amount
from destinations.kit.paths import find, normal, plain_keys
from tests.harness import linear

ACCESSORS = sorted(
    name for name in dir(Event) if isinstance(getattr(Event, name), property) and name[0] != "_"
)
READERS: dict[str, Callable[[str], object]] = {
    "amount": amount,
    "to_datetime": to_datetime,
    "is_email": is_email,
    "browser_of": browser_of,
    "hashed": hashed,
    "normal": normal,
    "find": lambda text: find({text: {text: 1}}, "a.b"),
    "plain_keys": lambda text: plain_keys({text: 1, text + "_": 2}),
}
#: Where an accessor may look: every field of a person, an order and a context holds the text.
FIELDS = (
    *("name", "firstName", "lastName", "username", "email", "phone", "website", "created", "age"),
    *("birthday", "gender", "avatar", "position", "description", "company", "industry", "plan"),
    *("employees", "address", "street", "city", "region", "state", "zip", "country", "id", "sku"),
    *("order_id", "product_id", "coupon", "currency", "revenue", "subtotal", "value", "total"),
    *("tax", "shipping", "discount", "price", "quantity", "category", "title", "url", "path"),
    *("referrer", "userAgent", "ip", "locale", "timezone", "channel", "library", "source"),
)


def filled(event_type: str, text: str) -> bytes:
    """An event whose every field is the text, and which has it as a key."""
    every: dict[str, Any] = dict.fromkeys(FIELDS, text)  # Any: JSON
    nested = every | {text: text, "products": [every], "companies": [every], "phones": [text]}
    top = {
        **dict.fromkeys(("userId", "anonymousId", "groupId", "event", "timestamp"), text),
        "name": text,
        "type": event_type,
        "traits": nested,
        "properties": nested,
        "context": nested | {"traits": every, "page": every, "campaign": every, "device": every},
        "integrations": {text: True, "x": {text: text}},
    }
    return json.dumps(top).encode()


@pytest.mark.parametrize("name", READERS)
def test_readers(name: str) -> None:
    """Each reader of text takes at most fifteen times the time for ten times the text."""
    read = READERS[name]

    for index, part in enumerate(linear.texts(8)):

        def work(length: int, index: int = index) -> Callable[[], object]:
            text = linear.texts(length)[index]
            return lambda: [read(text) for _ in range(20)]

        assert linear.growth(work) <= linear.MOST, (name, part)


@pytest.mark.parametrize("event_type", ["identify", "track", "page", "group"])
def test_accessors(event_type: str) -> None:
    """All accessors together do, wherever in an event the text stands."""

    def read(event: Event) -> None:
        for name in ACCESSORS:
            getattr(event, name)
        event.options("x"), event.enabled("x"), event.proxy("traits.no.where")

    for index, part in enumerate(linear.texts(8)):

        def work(length: int, index: int = index) -> Callable[[], object]:
            event = Event(filled(event_type, linear.texts(length)[index]))
            len(event)  # decoded now: that is msgspec's, and of linear cost
            return lambda: read(event)

        assert linear.growth(work) <= linear.MOST, part


def test_the_measure() -> None:
    """What is quadratic is found to be."""
    assert linear.growth(lambda n: lambda: [i for i in range(n // 10) for _ in range(n)]) > 50
    assert linear.growth(lambda n: lambda: sum(range(100 * n))) <= linear.MOST
