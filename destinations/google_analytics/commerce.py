"""From Segment's e-commerce events to Google Analytics' recommended ones, with their items. Pure.

Owns which event is which, and what of its properties is a parameter, an item's
or a value. Must not build requests.
https://segment.com/docs/connections/spec/ecommerce/v2/
https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference/events
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from destinations.google_analytics import limits
from destinations.kit.numbers import amount
from destinations.kit.paths import normal

_CURRENCY = re.compile(r"[A-Za-z]{3}", re.ASCII)


class Recommended(msgspec.Struct, frozen=True):
    """A recommended event. `parameters` are its own, by the property that gives them.

    `items` come from the property `products`, or from the properties themselves
    where the event is about one product. An `order` has a value without tax and
    shipping.
    """

    name: str
    parameters: Mapping[str, str] = {}
    items: Literal["products", "one", None] = None
    order: bool = False


_LIST = {"listid": "item_list_id", "category": "item_list_name"}
_ORDER = {
    "orderid": "transaction_id",
    "id": "transaction_id",
    "affiliation": "affiliation",
    "coupon": "coupon",
    "tax": "tax",
    "shipping": "shipping",
}
_PROMOTION = {
    "promotionid": "promotion_id",
    "name": "promotion_name",
    "creative": "creative_name",
    "position": "creative_slot",
}
_IN_LIST = {"listid": "item_list_id", "listname": "item_list_name"}

#: By the event's name without case, spaces, dashes and underscores. What has no counterpart, as
#: Checkout Step Viewed, Order Updated and Coupon Entered, goes under its own name.
EVENTS: Mapping[str, Recommended] = {
    "productssearched": Recommended("search", {"query": "search_term"}),
    "productlistviewed": Recommended("view_item_list", _LIST, "products"),
    "productlistfiltered": Recommended("view_item_list", _LIST, "products"),
    "promotionviewed": Recommended("view_promotion", _PROMOTION),
    "promotionclicked": Recommended("select_promotion", _PROMOTION),
    "productclicked": Recommended("select_item", _IN_LIST, "one"),
    "productviewed": Recommended("view_item", {}, "one"),
    "productadded": Recommended("add_to_cart", {}, "one"),
    "productremoved": Recommended("remove_from_cart", {}, "one"),
    "productaddedtowishlist": Recommended("add_to_wishlist", {}, "one"),
    "cartviewed": Recommended("view_cart", {}, "products"),
    "checkoutstarted": Recommended("begin_checkout", {"coupon": "coupon"}, "products", order=True),
    "paymentinfoentered": Recommended(
        "add_payment_info", {"paymentmethod": "payment_type", "coupon": "coupon"}, "products"
    ),
    "ordercompleted": Recommended("purchase", _ORDER, "products", order=True),
    "orderrefunded": Recommended("refund", _ORDER, "products", order=True),
    "productshared": Recommended("share", {"sharevia": "method", "productid": "item_id"}),
    "cartshared": Recommended("share", {"sharevia": "method"}),
    # https://segment.com/docs/connections/spec/b2b-saas/
    "signedup": Recommended("sign_up"),
    "signedin": Recommended("login"),
}

#: What of a product is known to Google Analytics.
_ITEM: Mapping[str, str] = {
    "productid": "item_id",
    "sku": "item_id",
    "id": "item_id",
    "name": "item_name",
    "brand": "item_brand",
    "category": "item_category",
    "variant": "item_variant",
    "affiliation": "affiliation",
    "coupon": "coupon",
    "discount": "discount",
    "position": "index",
    "price": "price",
    "quantity": "quantity",
}
_NUMBERS = frozenset({"price", "discount"})
_WHOLE_NUMBERS = frozenset({"quantity", "index"})
#: Parameters of events that are amounts.
_AMOUNTS = frozenset({"tax", "shipping"})
#: Properties that go into `value`, `currency` and `items`, and are not repeated beside them.
_TAKEN = frozenset({"products", "currency", "value", "revenue", "total", "subtotal"})


def recommended(event_name: str) -> Recommended | None:
    """The recommended event that an event of the spec is, however its name is spelled."""
    return EVENTS.get(normal(event_name))


def parameters(
    event: Recommended, properties: Mapping[str, Any], currency: str
) -> tuple[dict[str, Any], frozenset[str]]:  # Any: JSON
    """The event's own parameters, and the properties (by their plain keys) that went into them."""
    found: dict[str, Any] = {}
    taken = set(event.parameters)
    # Each key is made plain once: a search by `find` for each would do it again and again.
    plain: dict[str, Any] = {}
    for text, given in properties.items():
        name = limits.key(text).normal
        plain.setdefault(name, given)
        parameter = event.parameters.get(name)
        if parameter is not None and parameter not in found:
            as_value = amount(given) if parameter in _AMOUNTS else limits.value(parameter, given)
            if as_value is not None:
                # An id that is a number is a text all the same.
                found[parameter] = str(as_value) if parameter.endswith("_id") else as_value
    if event.items is None:
        return found, frozenset(taken)
    taken |= _TAKEN
    if event.items == "one":
        taken |= _ITEM.keys()
        items = [made] if (made := _item(properties, custom=False)) else []
    else:
        items = _items(plain.get("products"))
    worth = _value(event, plain, items)
    if worth is not None and _CURRENCY.fullmatch(currency):
        # A value needs its currency: without one Google Analytics counts no revenue.
        found["currency"] = currency.upper()
        found["value"] = worth
    if items:
        found["items"] = items
    return found, frozenset(taken)


def _items(products: Any) -> list[dict[str, Any]]:  # Any: JSON
    if not isinstance(products, list):
        return []
    made = (_item(product, custom=True) for product in products if isinstance(product, dict))
    return [item for item in made if item][: limits.ITEMS]


def _item(product: Mapping[str, Any], *, custom: bool) -> dict[str, Any] | None:  # Any: JSON
    """A product as an item; None where it has neither id nor name, one of which is required.

    `custom`: further fields go along, up to ten.
    """
    item: dict[str, Any] = {}
    further: dict[str, Any] = {}
    from_sku = None
    for text, given in product.items():
        plain, parameter = limits.key(text)
        known = _ITEM.get(plain)
        if known is None:
            if custom and parameter is not None and len(further) < limits.ITEM_PARAMETERS:
                as_value = limits.value(parameter, given)
                if as_value is not None:
                    further[parameter] = as_value
            continue
        as_value = _item_value(known, given)
        if as_value is None:
            continue
        if plain == "sku":
            from_sku = as_value
        else:
            item.setdefault(known, as_value)
    if from_sku is not None:
        # The product's id is the item's; the SKU of its variant only where there is no other.
        item.setdefault("item_id", from_sku)
    if "item_id" not in item and "item_name" not in item:
        return None
    return {**further, **item}


def _item_value(parameter: str, given: Any) -> limits.Value | None:  # Any: JSON
    if parameter in _NUMBERS:
        return amount(given)
    if parameter in _WHOLE_NUMBERS:
        number = amount(given)
        return None if number is None else int(number)
    as_value = limits.value(parameter, given)
    return None if as_value is None else str(as_value)


def _value(
    event: Recommended, plain: Mapping[str, Any], items: list[dict[str, Any]]
) -> float | None:  # Any: JSON
    """What the event is worth: as given, else the sum of price times quantity.

    Google Analytics wants it without shipping and tax, which `revenue` of the
    spec has not, and `total` has.
    """
    keys = ("revenue", "value") if event.order else ("value",)
    for key in keys:
        given = amount(plain.get(key))
        if given is not None:
            return given
    total = amount(plain.get("total")) if event.order else None
    if total is not None:
        tax, shipping = (amount(plain.get(key)) or 0.0 for key in ("tax", "shipping"))
        return round(total - tax - shipping, 6)
    priced = [item for item in items if "price" in item]
    if not priced:
        return None
    worth = round(sum(item["price"] * item.get("quantity", 1) for item in priced), 6)
    return worth if math.isfinite(worth) else None
