"""How a sender writes an event changes nothing of what it becomes, in any destination.

Not the order of JSON keys, not numbers written as text, not the case style of names: those are the
choice of a library or a database, and the meaning is the same. What a sender has named itself goes
on under that name to vendors that take any; there the name's style and the number's form are told
apart by nobody here, and everywhere else they must not show.

Destinations are found from their folder: a new one is in this suite at once.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from destinations.kit import Outcome, Request
from destinations.kit.loading import load
from destinations.kit.paths import normal
from tests.harness.destinations import NAMES, answered_by, destination, vendor
from tests.harness.usual import NOW
from tests.harness.vendors import event_of

_AT = "2026-11-25T11:59:59.000Z"
_COMMON: dict[str, Any] = {  # Any: JSON
    "messageId": "m-1",
    "userId": "user-1",
    "anonymousId": "anonymous-1",
    "timestamp": _AT,
    "receivedAt": _AT,
}
_CONTEXT: dict[str, Any] = {
    "ip": "192.0.2.1",
    "locale": "de-DE",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "page": {"url": "https://x.example/mugs?gclid=abc", "title": "Mugs", "referrer": "https://y/"},
    "campaign": {"source": "news", "medium": "email", "name": "may", "content": "top"},
    "traits": {"email": "ann@example.com", "first_name": "Ann", "plan_level": 3},
}
_TRAITS: dict[str, Any] = {
    "email": "ann@example.com",
    "first_name": "Ann",
    "last_name": "Lee",
    "phone": "+4930123456",
    "created_at": "2026-01-02T03:04:05Z",
    "job_title": "Head",
    "employees": 20,
    "annual_revenue": 1500.5,
    "login_count": 7,
    "company": {"id": "c-1", "name": "Acme", "employee_count": 20, "monthly_spend": 12.5},
    "address": {"street": "Via 1", "city": "Rome", "postal_code": "00184", "country": "IT"},
    "lead_score": 80,
}
_MUG = {"product_id": "p-1", "sku": "MUG-1", "name": "Mug", "price": 12.5, "quantity": 2,
        "category": "Kitchen", "position": 1, "image_url": "https://x/i",
        "shoe_size": 7}  # fmt: skip
_POT = {"product_id": "p-2", "item_name": "Pot", "unit_price": 30, "quantity": 1}
_ORDER: dict[str, Any] = {
    "id": "w-7",
    "order_id": "o-1",
    "total": 60.5,
    "revenue": 55,
    "tax": 2.5,
    "shipping": 3,
    "discount": 1,
    "coupon": "MAY",
    "currency": "eur",
    "gift_note": "hi",
    "points_used": 5,
    "gclid": "abc",
    "products": [_MUG, _POT],
}

#: Events that say much, of each type and kind.
EVENTS: Mapping[str, Mapping[str, Any]] = {
    "identify": {"type": "identify", "traits": _TRAITS},
    "group": {"type": "group", "groupId": "c-1", "traits": {
        "name": "Acme", "industry": "Retail", "employees": 20, "annual_revenue": 1500.5,
        "monthly_spend": 12.5, "created_at": "2026-01-02T03:04:05Z", "plan": "pro",
        "website": "https://acme.example", "address": _TRAITS["address"], "seat_count": 4}},
    "page": {"type": "page", "name": "Mugs", "category": "Shop", "properties": {
        "url": "https://x.example/mugs", "title": "Mugs", "referrer": "https://y/",
        "search_depth": 3}},
    "screen": {"type": "screen", "name": "Cart", "properties": {"item_count": 2, "value": 9}},
    "alias": {"type": "alias", "previousId": "anonymous-1"},
    "order": {"type": "track", "event": "Order Completed", "properties": _ORDER},
    "refund": {"type": "track", "event": "Order Refunded", "properties": _ORDER},
    "product": {"type": "track", "event": "Product Added",
                "properties": {**_MUG, "currency": "USD", "cart_id": "k-1", "gclid": "abc"}},
    "list": {"type": "track", "event": "Product List Viewed",
             "properties": {"list_id": "l-1", "category": "Deals", "products": [_MUG]}},
    "promotion": {"type": "track", "event": "Promotion Clicked", "properties": {
        "promotion_id": "p-9", "name": "May", "creative": "top", "position": 2,
        "products": [_POT]}},
    "custom": {"type": "track", "event": "Quote Sent", "properties": {
        "value": 80.5, "currency": "EUR", "quote_id": "q-1", "seat_count": 4, "gclid": "abc",
        "price": 12.5, "contact": {"deal_size": 3}}},
    "lead": {"type": "track", "event": "Lead Generated",
             "properties": {"total": 300, "currency": "usd", "gclid": "abc"}},
}  # fmt: skip

Rewritten = Callable[[Any], Any]  # Any: JSON


def cases() -> list[tuple[str, str]]:
    """Each destination that maps events with each event that it has a use for."""
    return [
        (name, kind)
        for name in NAMES
        if not vendor(name).is_verbatim
        for kind, fields in EVENTS.items()
        if fields["type"] in load(name, None).types - vendor(name).unused
    ]


def event(kind: str) -> dict[str, Any]:
    """An event of the table with all that events have."""
    return {**_COMMON, "context": _CONTEXT, **EVENTS[kind]}


def made(name: str, fields: Mapping[str, Any]) -> tuple[list[Outcome], list[Any]]:
    """The outcome of an event, and its requests as they are compared."""
    with (
        asyncio.Runner() as runner,
        answered_by(vendor(name).answer) as asked,
        time_machine.travel(NOW, tick=False),
    ):
        outcomes = runner.run(destination(name).deliver([event_of(**fields)]))
    own = _given(fields) | frozenset(map(normal, vendor(name).as_sent))
    return list(outcomes), [_meaning(request, own) for request in asked]


#: Objects of an event whose names are the sender's.
_SENDERS = ("traits", "properties", "campaign", "page")


def _given(value: Any, *, inside: bool = False) -> frozenset[str]:  # Any: JSON
    """The names that the sender has given, in plain form."""
    found: frozenset[str] = frozenset()
    if isinstance(value, dict):
        found = frozenset(map(normal, value)) if inside else found
        return found.union(*(_given(v, inside=inside or k in _SENDERS) for k, v in value.items()))
    if isinstance(value, list):
        return found.union(*(_given(one, inside=inside) for one in value))
    return found


def _meaning(request: Request, own: frozenset[str]) -> Any:  # Any: JSON
    body = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    url = urlsplit(request.url)
    query, said = dict(parse_qsl(url.query)), _said(body.decode())
    return (request.method, url.netloc, url.path, _plain(query, own), _plain(said, own))


def _said(text: str) -> Any:  # Any: JSON
    try:
        return json.loads(text) if text else None
    except ValueError:
        return dict(parse_qsl(text))


def _plain(value: Any, own: frozenset[str], *, is_own: bool = False) -> Any:  # Any: JSON
    """A body without what may differ: the style of names, and the form of a sender's own numbers.

    Own is what stands under a name that the sender has given.
    """
    match value:
        case dict():
            return {
                (plain := normal(name)): _plain(
                    below, own, is_own=is_own or plain.rpartition(".")[2] in own
                )
                for name, below in value.items()
            }
        case list():
            return [_plain(one, own, is_own=is_own) for one in value]
        case str() if value[:1] in ("{", "["):
            try:
                return _plain(json.loads(value), own, is_own=is_own)  # JSON as a text
            except ValueError:
                return value
        case str() if normal(value) in EVENT_NAMES:
            return normal(value)
        case str() if is_own:
            return _number(value)
        case _:
            return value


EVENT_NAMES = frozenset(normal(fields["event"]) for fields in EVENTS.values() if "event" in fields)


def _number(text: str) -> Any:  # Any: JSON
    try:
        return float(text)
    except ValueError:
        return text


def rewritten(value: Any, change: Rewritten, rename: Callable[[str], str], *, inside: bool) -> Any:
    """JSON with leaves changed and names renamed; `inside` of what senders name, Any: JSON."""
    if isinstance(value, dict):
        return {
            (rename(key) if inside else key): rewritten(
                below,
                change,
                rename,
                inside=inside or key in _SENDERS,
            )
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [rewritten(one, change, rename, inside=inside) for one in value]
    return change(value) if inside else value


def shuffled(value: Any, chance: random.Random) -> Any:  # Any: JSON
    """JSON with the keys of all objects in another order."""
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return [shuffled(one, chance) for one in value] if isinstance(value, list) else value


def _words(key: str) -> list[str]:
    return key.split("_")


STYLES: Mapping[str, Callable[[str], str]] = {
    "camelCase": lambda key: _words(key)[0] + "".join(map(str.capitalize, _words(key)[1:])),
    "PascalCase": lambda key: "".join(map(str.capitalize, _words(key))),
    "Title Case": lambda key: " ".join(map(str.capitalize, _words(key))),
    "kebab-case": lambda key: "-".join(_words(key)),
    "UPPER_CASE": str.upper,
}

_FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(("name", "kind"), cases())
def test_order_of_keys(name: str, kind: str) -> None:
    """The order in which keys stand changes nothing."""
    expected = made(name, event(kind))

    @_FEW
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        assert made(name, shuffled(event(kind), random.Random(seed))) == expected

    check()


@pytest.mark.parametrize(("name", "kind"), cases())
def test_numbers_as_text(name: str, kind: str) -> None:
    """Numbers are the same as text, all of them or some."""
    expected = made(name, event(kind))

    @_FEW
    @given(st.randoms(use_true_random=False), st.sampled_from([0.5, 1.0]))
    def check(chance: random.Random, share: float) -> None:
        def change(value: Any) -> Any:  # Any: JSON
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return str(value) if is_number and chance.random() <= share else value

        assert made(name, rewritten(event(kind), change, str, inside=False)) == expected

    check()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("name", "kind"), cases())
def test_case_style_of_names(name: str, kind: str, style: str) -> None:
    """Names of properties, traits and the like may be written in any style."""
    expected = made(name, event(kind))
    other = rewritten(event(kind), lambda value: value, STYLES[style], inside=False)
    assert made(name, other) == expected


@pytest.mark.parametrize("style", ["order_completed", "orderCompleted", "ORDER COMPLETED"])
@pytest.mark.parametrize("name", [name for name, kind in cases() if kind == "order"])
def test_case_style_of_events(name: str, style: str) -> None:
    """The name of a spec's event may be written in any style."""
    assert made(name, event("order") | {"event": style}) == made(name, event("order"))
