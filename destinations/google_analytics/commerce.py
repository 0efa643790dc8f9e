"""From Segment's e-commerce events to Google Analytics' recommended ones: items and worth. Pure.

Owns which event is which, what of a product is an item's, and what an order is worth. Parameters
of a single property stand in the table of `fields.py`. Must not build requests.

| question | answer, the first that there is |
| --- | --- |
| items | the field `items` (by default the list `products`), else the kit's `line_items`: `items`, `product`, or the event's own properties |
| value of an order, refund or checkout | revenue (but for 0), value, total without tax and shipping, subtotal, revenue of 0, the products' prices times quantities |
| value of products, lists, carts and leads | value, the products' prices times quantities, revenue, total without tax and shipping, subtotal |
| currency | the event's, else the one that all products share, else `default_currency`; none is invented |

A promotion's products are its items; it is worth nothing itself. Google: "Don't include shipping
or tax" in value. https://segment.com/docs/connections/spec/ecommerce/v2/
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference/events
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from destinations.google_analytics import limits
from destinations.kit import Event, LineItem, amount
from destinations.kit.commerce import products_worth
from destinations.kit.paths import find, normal
from destinations.kit.products import KNOWN, objects

Kind = Literal["one", "list", "cart", "order", "promotion", "lead", None]


class Recommended(msgspec.Struct, frozen=True):
    """A recommended event, and what it is about: one product, several, an order..."""

    name: str
    kind: Kind = None

    @property
    def has_worth(self) -> bool:
        """Whether it is worth something: what its products cost, if nothing else."""
        return self.kind is not None and self.kind != "promotion"


#: Google's own names come along in any case style where items or money would be lost otherwise.
_KINDS: Mapping[str, Kind] = {
    "view_item_list": "list",
    "view_promotion": "promotion",
    "select_promotion": "promotion",
    "select_item": "one",
    "view_item": "one",
    "add_to_cart": "one",
    "remove_from_cart": "one",
    "add_to_wishlist": "one",
    "view_cart": "cart",
    "begin_checkout": "order",
    "add_payment_info": "cart",
    "add_shipping_info": "cart",
    "purchase": "order",
    "refund": "order",
    "generate_lead": "lead",
}
#: Segment's names, with those of the first version of its spec. What has no counterpart, as
#: Checkout Step Viewed, Order Updated and Coupon Entered, goes under its own name.
_NAMES: Mapping[str, str] = {
    "productssearched": "search",
    "productlistviewed": "view_item_list",
    "productlistfiltered": "view_item_list",
    "viewedproductcategory": "view_item_list",
    "promotionviewed": "view_promotion",
    "viewedpromotion": "view_promotion",
    "promotionclicked": "select_promotion",
    "clickedpromotion": "select_promotion",
    "productclicked": "select_item",
    "productviewed": "view_item",
    "viewedproduct": "view_item",
    "productadded": "add_to_cart",
    "addedproduct": "add_to_cart",
    "productremoved": "remove_from_cart",
    "removedproduct": "remove_from_cart",
    "productaddedtowishlist": "add_to_wishlist",
    "cartviewed": "view_cart",
    "checkoutstarted": "begin_checkout",
    "paymentinfoentered": "add_payment_info",
    "ordercompleted": "purchase",
    "completedorder": "purchase",
    "orderrefunded": "refund",
    "refundedorder": "refund",
    "productshared": "share",
    "cartshared": "share",
    # https://segment.com/docs/connections/spec/b2b-saas/
    "signedup": "sign_up",
    "signedin": "login",
    "leadgenerated": "generate_lead",
}
#: By the event's name without case, spaces, dashes and underscores.
EVENTS: Mapping[str, Recommended] = {
    **{plain: Recommended(name, _KINDS.get(name)) for plain, name in _NAMES.items()},
    **{normal(name): Recommended(name, kind) for name, kind in _KINDS.items()},
}

#: What Google Analytics knows of an item under the sender's own name, by its plain form; not among
#: the ten of the sender's own. https://developers.google.com/analytics/devguides/collection/ga4/reference/events
_AS_THEY_ARE: Mapping[str, str] = {
    normal(name): name
    for name in (
        *("item_category2", "item_category3", "item_category4", "item_category5", "location_id"),
        *("promotion_id", "promotion_name", "creative_name", "creative_slot"),
    )
}
_EVERY = frozenset({"currency", "currencycode", "url", "imageurl"})
_SEVERAL = _EVERY | {"coupon", "discount", "id"}
#: Properties of an event that has its product in itself which are the event's, and no item's.
_OF_THE_EVENT: Mapping[Kind, frozenset[str]] = {
    "one": _EVERY,
    "cart": _SEVERAL,
    "order": _SEVERAL | {"affiliation"},
    "list": _SEVERAL | {"category", "listid", "listname", "itemlistid", "itemlistname"},
    "promotion": _SEVERAL
    | {"name", "title", "position", "category"}
    | {"promotionid", "promotionname", "creativename", "creativeslot"},
}
#: Of a flat event that may hold much else: what says that it is about a product.
_IDS = frozenset({"productid", "itemid", "sku", "itemsku"})
#: Where products stand in an event, see `kit/products.py`.
_PLACES = _IDS | {"products", "items", "product"}
#: Amounts of the event's, which go into `value`.
_MONEY = frozenset({"value", "revenue", "total", "subtotal"})


class Goods(msgspec.Struct, frozen=True):
    """What an event says of products: `lines`, and the items that they are.

    `taken` are the properties of an event that has its product in itself.
    """

    items: list[dict[str, Any]]  # Any: JSON
    lines: Sequence[LineItem]
    taken: frozenset[str]


def recommended(event_name: str) -> Recommended | None:
    """The recommended event that an event of the spec is, however its name is spelled."""
    return EVENTS.get(normal(event_name)) if len(event_name) <= limits.KEY_CHARS else None


def goods(event: Event, kind: Kind, given: object, plain: Mapping[str, Any]) -> Goods:
    """The products of an event. `given` is the list that the field `items` has, if any.

    `plain` are the event's properties by their plain keys.
    """
    if kind == "lead":
        return Goods([], (), frozenset())
    several = objects(given)
    lines = [LineItem(fields) for fields in several] if several else _lines(event, kind, plain)
    flat = len(lines) == 1 and lines[0].fields is event.properties
    if flat:
        of_event = _OF_THE_EVENT[kind]
        own = {key: v for key, v in event.properties.items() if normal(key) not in of_event}
        lines = [LineItem(own)]
    made = (_item(line, is_flat=flat) for line in lines[: limits.ITEMS * 2])
    items = [item for item in made if item is not None][: limits.ITEMS]
    taken = frozenset(map(normal, lines[0].fields)) & _IN_ITEMS if flat and items else frozenset()
    return Goods(items, lines, taken)


def _lines(event: Event, kind: Kind, plain: Mapping[str, Any]) -> list[LineItem]:
    if kind == "one":
        return event.line_items or [LineItem(event.properties)]
    if plain.keys().isdisjoint(_PLACES):
        return []
    lines = event.line_items
    if lines and lines[0].fields is event.properties and plain.keys().isdisjoint(_IDS):
        return []  # a list or promotion of some name is no product yet
    return lines


def worth(kind: Kind, plain: Mapping[str, Any], lines: Sequence[LineItem]) -> float | None:
    """What the event of these properties is worth; None where nothing says it.

    `plain` are the properties by their plain keys.
    """
    is_order = kind == "order"
    revenue = amount(plain.get("revenue"))
    if is_order and revenue:
        # As in the kit's rule, a revenue of 0 is one only where no total says otherwise.
        return revenue
    found = amount(plain.get("value"))
    if found is None and not is_order:
        found = products_worth(lines)
        if found is None:
            found = revenue
    if found is None:
        total = amount(plain.get("total"))
        if total is not None:
            tax, shipping = (amount(plain.get(key)) or 0.0 for key in ("tax", "shipping"))
            return round(total - tax - shipping, 6)
        found = amount(plain.get("subtotal"))
    if found is None and is_order:
        found = products_worth(lines) if revenue is None else revenue
    return found


def taken(kind: Kind) -> frozenset[str]:
    """Properties that went into an event's worth."""
    return _MONEY if kind is not None and kind != "promotion" else frozenset()


#: Names of a product that an item takes, in plain form.
_IN_ITEMS = (KNOWN | _AS_THEY_ARE.keys()) - {"url", "imageurl", "currency", "currencycode", "title"}


def _item(line: LineItem, *, is_flat: bool) -> dict[str, Any] | None:  # Any: JSON
    """A product as an item; None where it has neither id nor name, one of which is required.

    Of a product in a list further fields go along, up to ten; beside one that is in an event's own
    properties they are the event's.
    """
    name = line.name
    quantity = line.quantity
    known: dict[str, Any] = {
        "item_id": line.key,
        "item_name": name,
        "item_brand": line.brand,
        "item_category": line.category,
        "item_variant": line.variant,
        "affiliation": line.affiliation,
        "coupon": line.coupon,
        "currency": line.currency,
        "discount": line.discount,
        "index": line.position,
        "item_list_id": line.list_id,
        "item_list_name": line.list_name,
        "price": line.price,
        "quantity": None if quantity is None else int(quantity),
    }
    if known["item_id"] is None and name is None:
        return None
    further: dict[str, Any] = {}
    for key, value in line.other.items():
        parameter = _AS_THEY_ARE.get(normal(key))
        if parameter is not None:
            known[parameter] = limits.text(parameter, value)
        elif not is_flat:
            further[key] = value
    own: dict[str, Any] = {}
    if not is_flat:
        further |= {"url": line.url, "image_url": line.image_url}
        title = find(line.fields, "title")
        if title != name:
            further["title"] = title
        own = limits.parameters(further, limits.ITEM_PARAMETERS, known)
    for parameter, value in known.items():
        cleaned = limits.value(parameter, value)
        if cleaned is not None:
            own[parameter] = cleaned
    return own
