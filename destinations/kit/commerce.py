"""What an event says of money and orders: one rule for all destinations.

Pure, and never raises: what is no amount (`numbers.py`) is None. In any case style:

| question | properties, the first that answers | |
| --- | --- | --- |
| which order | order_id, transaction_id, order_number, id | `id` is no order's on events about products, promotions and coupons |
| what it earned (`revenue`) | revenue; of a completed order without one, or with 0, total | as Segment's facade |
| what it is worth (`worth`) | revenue as above, revenue of 0, value, total | no event is worth what nobody has said |
| which currency | currency, currency_code; else the one that all products share | None is invented |
| what the goods cost (`subtotal`) | subtotal, else total without tax, shipping and discount, else revenue | |

https://segment.com/docs/connections/spec/ecommerce/v2/
https://github.com/segmentio/facade/blob/master/lib/track.js
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from destinations.kit.numbers import amount
from destinations.kit.paths import find, normal
from destinations.kit.products import LineItem, currency_code

#: What an order's id is called, but for plain `id`.
_ORDER_IDS = ("order_id", "transaction_id", "order_number")
#: Events whose `id` is that of something else begin so.
_NOT_ABOUT_ORDERS = ("product", "promotion", "coupon")
_COMPLETED = frozenset({"ordercompleted", "completedorder"})
#: Longest event name that may be one of the spec's, in characters.
_NAME_CHARS = 64


def order_id_paths(event: object) -> tuple[str, ...]:
    """The properties that may hold the order's id of an event of this name, the best first."""
    name = normal(event[:_NAME_CHARS].strip()) if isinstance(event, str) else ""
    return _ORDER_IDS if name.startswith(_NOT_ABOUT_ORDERS) else (*_ORDER_IDS, "id")


def revenue(properties: Mapping[str, Any], event: object) -> float | None:  # Any: JSON
    """The revenue; of a completed order its total, where no revenue is given or it is 0."""
    given = amount(find(properties, "revenue"))
    if not given and is_completed(event):
        total = amount(find(properties, "total"))
        return given if total is None else total
    return given


def is_completed(event: object) -> bool:
    """Whether it is the name of a completed order, in any case style."""
    return (
        isinstance(event, str) and len(event) <= _NAME_CHARS and normal(event.strip()) in _COMPLETED
    )


def worth(properties: Mapping[str, Any], event: object) -> float | None:  # Any: JSON
    """What the event is worth to its sender: revenue, value or total; None where none is said."""
    found = revenue(properties, event)
    for key in ("value", "total"):
        if found is not None:
            return found
        found = amount(find(properties, key))
    return found


def own_currency(properties: Mapping[str, Any]) -> str | None:  # Any: JSON
    """The currency's code in capitals, as the event names it."""
    for key in ("currency", "currencycode"):
        code = currency_code(find(properties, key))
        if code is not None:
            return code
    return None


def shared_currency(products: Iterable[LineItem]) -> str | None:
    """The code of the currency that all products which name one share."""
    codes = {code for product in products if (code := product.currency) is not None}
    return codes.pop() if len(codes) == 1 else None


def products_worth(products: Iterable[LineItem]) -> float | None:
    """The sum of prices times quantities; None where no product has a price."""
    priced = [one for product in products if (one := product.worth) is not None]
    return amount(round(sum(priced), 6)) if priced else None


def subtotal(properties: Mapping[str, Any], event: object) -> float:  # Any: JSON
    """What was paid for the goods alone: as given, else worked out of the total; 0 if unknown."""
    given = amount(find(properties, "subtotal"))
    if given:
        return given
    total = amount(find(properties, "total"))
    if not total:
        return revenue(properties, event) or 0.0
    tax, shipping, discount = (
        amount(find(properties, key)) or 0.0 for key in ("tax", "shipping", "discount")
    )
    return total - tax - shipping + discount
