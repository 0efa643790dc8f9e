"""Visitors of a shop, for the demonstration: events as JSON lines, without end.

Each visitor looks around, some sign up, fewer buy; all six types of the Segment
spec occur. Standard library only; ends when nobody reads it any more.
"""

from __future__ import annotations

import json
import random
import sys
import unicodedata
import uuid
from collections.abc import Iterator
from typing import Any

FIRST = ("Ann", "Bea", "Chen", "Dana", "Emre", "Fatou", "Greta", "Hiro", "Inés", "Jonas")
LAST = ("Özil", "Nowak", "García", "Okafor", "Lindqvist", "Tanaka", "Weber", "Silva")
PAGES = ("Home", "Mugs", "T-shirts", "Cart", "Help")
PRODUCTS: tuple[tuple[str, str, float], ...] = (
    ("sku-1", "Mug", 12.5),
    ("sku-2", "T-shirt", 25.0),
    ("sku-3", "Poster", 8.0),
)

#: Share of visitors whose address is as they would write their name, which not everybody takes.
MISTYPED = 0.1
Event = dict[str, Any]  # Any: JSON


def visit(chance: random.Random) -> Iterator[Event]:
    """What one visitor does, in order."""
    first, last = chance.choice(FIRST), chance.choice(LAST)
    number = chance.randrange(100_000)
    email = f"{first}.{last}{number}@example.com".lower()
    if chance.random() > MISTYPED:
        email = unicodedata.normalize("NFD", email).encode("ascii", "ignore").decode()
    anonymous_id = str(uuid.UUID(int=chance.getrandbits(128)))
    context: Event = {
        "ip": f"192.0.2.{chance.randrange(1, 255)}",
        "locale": chance.choice(("de-DE", "en-GB", "pl-PL")),
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    }
    if chance.random() < 0.3:
        context["page"] = {"url": f"https://shop.example.com/?gclid=Cj0KCQ{number}"}
    who: Event = {"anonymousId": anonymous_id, "context": context}
    for name in chance.sample(PAGES, chance.randrange(1, 4)):
        url = f"https://shop.example.com/{name.lower()}"
        properties = {"url": url, "title": name, "path": f"/{name.lower()}"}
        yield {"type": "page", "name": name, "properties": properties, **who}
    if chance.random() < 0.2:
        yield {"type": "screen", "name": "Basket", **who}
    if chance.random() < 0.5:
        return
    user_id = f"user-{number}"
    traits = {"email": email, "firstName": first, "lastName": last, "company": f"{last} GmbH"}
    who = {"userId": user_id, "anonymousId": anonymous_id, "context": {**context, "traits": traits}}
    yield {"type": "alias", "previousId": anonymous_id, "userId": user_id}
    yield {"type": "identify", "traits": traits, **who}
    yield {"type": "track", "event": "Signed Up", "properties": {"plan": "free"}, **who}
    if chance.random() < 0.3:
        group = {"name": f"{last} GmbH", "employees": chance.randrange(1, 500)}
        yield {"type": "group", "groupId": f"group-{last.lower()}", "traits": group, **who}
    if chance.random() < 0.5:
        yield order(chance, number, who)


def order(chance: random.Random, number: int, who: Event) -> Event:
    """A completed order."""
    bought = [
        (*product, chance.randrange(1, 4))
        for product in chance.sample(PRODUCTS, chance.randrange(1, 4))
    ]
    total = sum(price * quantity for _, _, price, quantity in bought)
    products = [
        {"product_id": sku, "name": name, "price": price, "quantity": quantity}
        for sku, name, price, quantity in bought
    ]
    properties = {
        "order_id": f"order-{number}",
        "total": total,
        "revenue": total,
        "currency": "EUR",
        "products": products,
        "gclid": f"Cj0KCQ{number}",
    }
    return {"type": "track", "event": "Order Completed", "properties": properties, **who}


def main() -> None:
    """Write events until nobody reads them."""
    chance = random.Random()
    try:
        while True:
            for event in visit(chance):
                print(json.dumps(event, ensure_ascii=False), flush=True)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()  # the interpreter would complain of the pipe at exit


if __name__ == "__main__":
    main()
