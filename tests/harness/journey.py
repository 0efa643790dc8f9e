"""One customer's way, from the first page to a refund, and what a destination makes of it.

Owns the events, which are the same for all destinations, and how their requests are printed side
by side in a destination's README (`./scripts/catalogue` writes them, a test compares).
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import time_machine

from destinations.kit import Delivered, Outcome, Request, Response
from supervisor.tapes.tape import About, Answer, Call, Exchange, Tape, outcome_line
from tests.harness.destinations import answered_by, destination, vendor
from tests.harness.usual import NOW
from tests.harness.vendors import event_of, is_token_request

_CONTEXT: dict[str, Any] = {  # Any: JSON
    "ip": "192.0.2.1",
    "locale": "de-DE",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "page": {"url": "https://shop.example.com/mugs", "title": "Mugs", "path": "/mugs"},
    "campaign": {"source": "news", "medium": "email", "name": "may"},
}
_MUG = {"product_id": "p-1", "sku": "MUG-1", "name": "Mug", "price": 12.5, "category": "Kitchen"}
_POT = {"product_id": "p-2", "sku": "POT-2", "name": "Pot", "price": 30, "category": "Kitchen"}
_TRAITS = {
    "email": "ann@example.com",
    "firstName": "Ann",
    "lastName": "Lee",
    "plan": "free",
    "company": {"id": "c-1", "name": "Acme"},
    "address": {"city": "Rome", "country": "IT", "postalCode": "00184"},
    "createdAt": "2026-11-25T11:50:03Z",
}
_ORDER = {
    "order_id": "o-1",
    "total": 58.0,
    "revenue": 55.0,
    "shipping": 3.0,
    "currency": "EUR",
    "products": [{**_MUG, "quantity": 2}, {**_POT, "quantity": 1}],
}


def _event(second: int, event_type: str, *, is_known: bool = True, **fields: Any) -> dict[str, Any]:
    """An event of the customer, anonymous or known; Any: JSON."""
    at = f"2026-11-25T11:50:{second:02}.000Z"
    context = {**_CONTEXT, **({"traits": {"email": "ann@example.com"}} if is_known else {})}
    return {
        "type": event_type,
        "messageId": f"00000000-0000-4000-8000-0000000000{second:02}",
        "anonymousId": "anonymous-1",
        **({"userId": "user-1"} if is_known else {}),
        "timestamp": at,
        "receivedAt": at,
        "context": context,
        **fields,
    }


#: What happens, and the event that tells of it; every field that SDKs send, nothing made up.
JOURNEY: Sequence[tuple[str, Mapping[str, Any]]] = (  # Any: JSON
    (
        "An anonymous visitor sees a page",
        _event(1, "page", is_known=False, name="Mugs", category="Shop",
               properties={"url": "https://shop.example.com/mugs", "title": "Mugs"}),
    ),
    ("looks at a product", _event(2, "track", is_known=False, event="Product Viewed",
                                  properties={**_MUG, "currency": "EUR"})),
    ("signs up", _event(3, "identify", traits=_TRAITS)),
    ("is the same as the visitor", _event(4, "alias", previousId="anonymous-1")),
    ("joins a company", _event(5, "group", groupId="c-1",
                               traits={"name": "Acme", "employees": 20, "industry": "Retail"})),
    ("adds a product to the cart", _event(6, "track", event="Product Added",
                                          properties={**_MUG, "quantity": 2, "currency": "EUR"})),
    ("looks at the cart", _event(7, "track", event="Cart Viewed", properties={
        "cart_id": "k-1", "currency": "EUR", "products": _ORDER["products"]})),
    ("opens the checkout in the app", _event(8, "screen", name="Checkout", properties={})),
    ("orders", _event(9, "track", event="Order Completed", properties=_ORDER)),
    ("sends a quote, an event of the shop's own name", _event(
        10, "track", event="Quote Sent", properties={"total": 80.5, "currency": "EUR"})),
    ("gets money back", _event(11, "track", event="Order Refunded", properties={
        "order_id": "o-1", "total": 12.5, "currency": "EUR",
        "products": [{**_MUG, "quantity": 1}]})),
)  # fmt: skip


def travelled(name: str) -> list[tuple[str, Mapping[str, Any], list[Request], Outcome]]:
    """What happens, its event, the requests that a destination makes of it, and the outcome.

    Settings and answers are those of the destination's `vendor.py`, its journey's own where it
    has them. Requests for tokens are left out.
    """
    about = vendor(name)
    found = []
    with (
        asyncio.Runner() as runner,
        answered_by(about.answer) as asked,
        time_machine.travel(NOW, tick=False),
    ):
        one = destination(name, about.journey_settings or about.settings)
        for title, fields in JOURNEY:
            asked.clear()
            if fields["type"] in one.types:
                [outcome] = runner.run(one.deliver([event_of(**fields)]))
                requests = [request for request in asked if not is_token_request(request)]
                found.append((title, fields, requests, outcome))
    return found


def tape(name: str) -> Tape:
    """The whole journey in one `deliver`, with the answers of `vendor.py`, as a tape."""
    about = vendor(name)
    assert about.sources, f"the vendor.py of {name} names no sources of its answers"
    settings = dict(about.journey_settings or about.settings)
    with (
        asyncio.Runner() as runner,
        answered_by(about.answer) as asked,
        time_machine.travel(NOW, tick=False),
    ):
        one = destination(name, settings)
        events = [dict(fields) for _, fields in JOURNEY if fields["type"] in one.types]
        outcomes = runner.run(one.deliver([event_of(**fields) for fields in events]))
        exchanges = [_exchange(request, about.answer(request)) for request in asked]
    return Tape(
        About(
            destination=name,
            provenance="doc",
            sources=list(about.sources),
            at=datetime.fromisoformat(NOW),
            settings=settings,
            events=events,
            outcomes=[_line(outcome) for outcome in outcomes],
        ),
        tuple(exchanges),
    )


def _exchange(request: Request, response: Response) -> Exchange:
    # Headers that depend on the version or hold a secret are of no event.
    shown = ("content-type", "x-")
    headers = tuple(
        (str(key), value) for key, value in request.headers.items() if key.lower().startswith(shown)
    )
    body = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    said = tuple(response.headers.items())
    return Exchange(
        Call(request.method, request.url, headers, body),
        Answer(response.status, "", said, response.body),
    )


def _line(outcome: Outcome) -> str:
    reason = getattr(outcome, "reason", "")
    return outcome_line(type(outcome).__name__.lower(), reason)


def markdown(name: str) -> list[str]:
    """The journey for a README: each event, and beside it the requests that it becomes."""
    lines = ["<table>", "<tr><th>event</th><th>becomes</th></tr>"]
    for title, fields, requests, outcome in travelled(name):
        shown = {
            key: value
            for key, value in fields.items()
            if key not in ("messageId", "timestamp", "receivedAt", "context", "anonymousId")
        }
        lines += ["<tr><td>", "", f"{title}:", "", *_block("json", _pretty(shown)), "", "</td><td>"]
        for request in requests:
            lines += ["", *_block("http", "\n".join([*_head(request), "", _body(request)]))]
        if not requests or outcome != Delivered():
            lines += ["", f"`{type(outcome).__name__.lower()}`"]
        lines += ["", "</td></tr>"]
    return [*lines, "</table>"]


def _head(request: Request) -> list[str]:
    """The request's first line, and headers that are of the event."""
    own = (f"{name}: {value}" for name, value in request.headers.items() if name.startswith("X-"))
    return [
        f"{request.method} {request.url}",
        *(line for line in own if not line.startswith("X-Signature")),
    ]


def _block(language: str, text: str) -> list[str]:
    return [f"```{language}", *text.rstrip().splitlines(), "```"]


def _body(request: Request) -> str:
    body = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    if not body:
        return ""
    try:
        return _pretty(json.loads(body))
    except ValueError:
        return "\n".join(f"{key}={value}" for key, value in parse_qsl(body.decode()))


def _pretty(value: object) -> str:
    """JSON with one field a line, and small objects on one."""
    return _laid_out(value, "")


def _laid_out(value: object, indent: str) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= 60 or not isinstance(value, (dict, list)):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(key)}: {_laid_out(v, inner)}" for key, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _laid_out(v, inner) for v in value) + f"\n{indent}]"
