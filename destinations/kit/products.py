"""What a product is called, and where in an event products stand: one rule for all destinations.

Pure, and never raises. Segment's names come first, then those that senders bring along from
Google's tag (https://developers.google.com/analytics/devguides/collection/ga4/reference/events)
and from shops; in any case style:

| field | names, the first that has a value |
| --- | --- |
| `id` | product_id, item_id, id |
| `sku` | sku, item_sku |
| `name` | name, product_name, item_name, title |
| `brand` | brand, item_brand |
| `category` | category, product_category, item_category |
| `variant` | variant, item_variant |
| `price` | price, unit_price, item_price |
| `quantity` | quantity, qty |
| `discount`, `coupon`, `affiliation`, `currency`, `url`, `image_url` | the same; currency_code |
| `position` | position, index |
| `list_id`, `list_name` | list_id, item_list_id; list_name, item_list_name |

| products stand in | when |
| --- | --- |
| `products`, else `items`, else `product` | it is a list with an object in it, whatever the event is: nulls and what is no object is passed over; an object alone is one product |
| the properties themselves | they have a product's id or SKU; with `id` or a name only where the event's name begins with "Product" |

https://segment.com/docs/connections/spec/ecommerce/v2/
"""  # noqa: E501 - a row of a table is one line

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from destinations.kit.numbers import amount
from destinations.kit.paths import normal, plain_keys

_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("productid", "itemid", "id"),
    "sku": ("sku", "itemsku"),
    "name": ("name", "productname", "itemname", "title"),
    "brand": ("brand", "itembrand"),
    "category": ("category", "productcategory", "itemcategory"),
    "variant": ("variant", "itemvariant"),
    "price": ("price", "unitprice", "itemprice"),
    "quantity": ("quantity", "qty"),
    "discount": ("discount",),
    "coupon": ("coupon",),
    "affiliation": ("affiliation",),
    "currency": ("currency", "currencycode"),
    "url": ("url",),
    "image_url": ("imageurl",),
    "position": ("position", "index"),
    "list_id": ("listid", "itemlistid"),
    "list_name": ("listname", "itemlistname"),
}
#: Every name of the table, in plain form (`kit.paths.normal`): what of a product is known.
KNOWN = frozenset(name for names in _NAMES.values() for name in names)

_CURRENCY = re.compile(r"[A-Za-z]{3}", re.ASCII)


class LineItem:
    """A product of an event, by the table of this module. `fields` is the object as sent."""

    __slots__ = ("_plain", "fields")

    def __init__(self, fields: Mapping[str, Any], plain: Mapping[str, Any] | None = None) -> None:
        self.fields = fields  # Any: decoded JSON
        self._plain = plain_keys(fields) if plain is None else plain

    @property
    def id(self) -> str | None:
        """The product's id; its stock number is `sku`."""
        return self._text("id")

    @property
    def sku(self) -> str | None:
        """The stock number, as of a variant."""
        return self._text("sku")

    @property
    def key(self) -> str | None:
        """What tells the product from others: its id, else its stock number."""
        return self._text("id") or self._text("sku")

    @property
    def name(self) -> str | None:
        """What customers call it."""
        return self._text("name")

    @property
    def brand(self) -> str | None:
        """Who makes it."""
        return self._text("brand")

    @property
    def category(self) -> str | None:
        """Its category, levels as the sender joins them."""
        return self._text("category")

    @property
    def variant(self) -> str | None:
        """Size, colour and the like."""
        return self._text("variant")

    @property
    def coupon(self) -> str | None:
        """The coupon's code."""
        return self._text("coupon")

    @property
    def affiliation(self) -> str | None:
        """The shop that sells it."""
        return self._text("affiliation")

    @property
    def url(self) -> str | None:
        """Its page."""
        return self._text("url")

    @property
    def image_url(self) -> str | None:
        """Its picture."""
        return self._text("image_url")

    @property
    def list_id(self) -> str | None:
        """The list that it was shown in."""
        return self._text("list_id")

    @property
    def list_name(self) -> str | None:
        """The name of that list."""
        return self._text("list_name")

    @property
    def currency(self) -> str | None:
        """The code of the currency of its price, in capitals."""
        return currency_code(self._first("currency"))

    @property
    def price(self) -> float | None:
        """The price of one piece."""
        return self._amount("price")

    @property
    def discount(self) -> float | None:
        """What was taken off the price."""
        return self._amount("discount")

    @property
    def quantity(self) -> float | None:
        """How many pieces; None where it is not said, which most vendors read as 1."""
        return self._amount("quantity")

    @property
    def position(self) -> int | None:
        """Its place in the list, from where the sender counts."""
        number = self._amount("position")
        return None if number is None else int(number)

    @property
    def worth(self) -> float | None:
        """Price times quantity, which is 1 where it is not said."""
        price, quantity = self.price, self.quantity
        if price is None:
            return None
        return amount(price * (1 if quantity is None else quantity))

    @property
    def other(self) -> dict[str, Any]:  # Any: decoded JSON
        """The fields that the table does not know, under the sender's own names."""
        return {key: value for key, value in self.fields.items() if normal(key) not in KNOWN}

    def _first(self, field: str) -> Any:  # Any: decoded JSON
        for name in _NAMES[field]:
            value = self._plain.get(name)
            if value is not None and value != "":
                return value
        return None

    def _text(self, field: str) -> str | None:
        for name in _NAMES[field]:
            value = self._plain.get(name)
            if isinstance(value, str):
                if text := value.strip():
                    return text
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                # Ids that a spreadsheet has made numbers of: 7.0 is 7.
                is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
                return str(int(value) if is_whole else value)
        return None

    def _amount(self, field: str) -> float | None:
        for name in _NAMES[field]:
            number = amount(self._plain.get(name))
            if number is not None:
                return number
        return None


def currency_code(value: object) -> str | None:
    """The code of a currency in capitals: three letters, as ISO 4217 has them; else None."""
    text = value.strip() if isinstance(value, str) and len(value) < 64 else ""
    return text.upper() if _CURRENCY.fullmatch(text) else None


def line_items(
    properties: Mapping[str, Any], event: str | None, plain: Mapping[str, Any]
) -> list[LineItem]:  # Any: decoded JSON
    """The products of an event of this name, wherever they stand.

    `plain` are the properties by their plain keys.
    """
    for name in ("products", "items", "product"):
        value = plain.get(name)
        # One product where a list is expected is a list of one.
        several = [value] if isinstance(value, dict) and value else objects(value)
        if several:
            return [LineItem(fields) for fields in several]
    itself = LineItem(properties, plain)
    names: tuple[str, ...] = ("productid", "itemid", "sku")
    if event is not None and normal(event[:64]).startswith("product"):
        names = (*names, "id", "name", "productname", "itemname")
    return [itself] if any(plain.get(name) not in (None, "") for name in names) else []


def objects(value: object) -> list[dict[str, Any]]:  # Any: decoded JSON
    """The objects of a list; nulls and whatever else stands in it is passed over."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
