"""The fields of conversions, calls, adjustments and pings: from which of an event's each is. Pure.

Owns the tables of default fields, which `settings.mapping` changes, and what becomes of mapped
values before Google takes them: a number that is none or a time that nobody can read would have the
whole request refused. Three fields are made by code, as no expression makes a list of objects:
items of a cart, hashed identifiers, and pairs of names and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from destinations.google_ads.identifiers import address_info, user_identifiers
from destinations.kit import Event, FieldMapping, MappingTable
from destinations.kit.mapping import Expression, text_of
from destinations.kit.numbers import amount, whole
from destinations.kit.products import LineItem, currency_code
from destinations.kit.times import to_datetime

_USER = {
    "userIdentifiers.hashedEmail": "@email",
    "userIdentifiers.hashedPhoneNumber": "@phone",
}
_WORTH = {"conversionValue": "@worth", "currencyCode": "@currency"}

#: https://developers.google.com/google-ads/api/reference/rpc/latest/ClickConversion
CONVERSION = MappingTable(
    track={
        "conversionDateTime": "@timestamp ?? @received_at",
        **_WORTH,
        "orderId": "@order_id",
        **_USER,
        "cartData.merchantId": "properties.merchant_id",
        "cartData.feedCountryCode": "properties.feed_country_code",
        "cartData.feedLanguageCode": "properties.feed_language_code",
        "cartData.localTransactionCost": "@discount",
    }
)
#: https://developers.google.com/google-ads/api/reference/rpc/latest/CallConversion
CALL = MappingTable(
    track={
        "callerId": "@phone",
        "callStartDateTime": "properties.call_start_date_time ?? properties.call_start_time",
        "conversionDateTime": "@timestamp ?? @received_at",
        **_WORTH,
    }
)
#: https://developers.google.com/google-ads/api/reference/rpc/latest/ConversionAdjustment
#: The spec's refund says what was given back, and Google wants what is left.
ADJUSTMENT = MappingTable(
    track={
        "adjustmentDateTime": "@timestamp ?? @received_at",
        "orderId": "@order_id",
        "gclidDateTimePair.conversionDateTime": "properties.conversion_date_time",
        "restatementValue.adjustedValue": (
            "properties.adjusted_value ?? (if not event is 'Order Refunded' then @worth)"
        ),
        "restatementValue.currencyCode": "@currency",
        **_USER,
        "userIdentifiers.addressInfo.hashedFirstName": "@first_name",
        "userIdentifiers.addressInfo.hashedLastName": "@last_name",
        "userIdentifiers.addressInfo.hashedStreetAddress": "@street",
        "userIdentifiers.addressInfo.city": "@city",
        "userIdentifiers.addressInfo.state": "@state",
        "userIdentifiers.addressInfo.postalCode": "@postal_code",
        "userIdentifiers.addressInfo.countryCode": "@country_code",
        "userAgent": "@user_agent",
    }
)
PING = MappingTable(
    track={"value": "@worth", "currency_code": "@currency", "oid": "@order_id"},
)

#: What a call conversion and an adjustment have; settings may name fields of the others.
CALL_FIELDS = frozenset(
    {"callerId", "callStartDateTime", "conversionDateTime", "conversionValue", "currencyCode"}
    | {"customVariables", "consent"}
)
ADJUSTMENT_FIELDS = frozenset(
    {"adjustmentDateTime", "orderId", "gclidDateTimePair", "restatementValue", "userIdentifiers"}
    | {"userAgent"}
)
#: Fields of those two that a click's conversion has not.
NOT_OF_CLICKS = (CALL_FIELDS | ADJUSTMENT_FIELDS) - {
    *("conversionDateTime", "conversionValue", "currencyCode", "customVariables", "consent"),
    *("orderId", "userIdentifiers"),
}

#: Largest quantity that the API's 32 bits hold.
_MOST_PIECES = 2**31 - 1
#: Pairs of names and values in a conversion, and characters of each value.
_MOST_PAIRS = 100
_PAIR_CHARS = 2000


def fields_of(mapping: FieldMapping, wanted: frozenset[str], *, inverted: bool) -> FieldMapping:
    """What of `settings.mapping` is about the wanted fields, or with `inverted` about others."""

    def chosen(table: Mapping[str, Any]) -> dict[str, Any]:  # Any: expressions
        return {
            key: below
            for key, below in table.items()
            if (key.partition(".")[0] in wanted) is not inverted
        }

    top: dict[str, Expression | dict[str, Expression]] = {}
    for key, below in mapping.items():
        if isinstance(below, dict):
            top[key] = chosen(below)
        else:
            top |= chosen({key: below})
    return top


def date_time(value: object) -> str | None:
    """A time as `yyyy-mm-dd hh:mm:ss+00:00`; None where it is none."""
    at = value if isinstance(value, datetime) else to_datetime(value)
    try:
        return None if at is None else at.astimezone(UTC).isoformat(" ", "seconds")
    except OverflowError:
        return None  # in the first or last hours that there are


def worth_of(fields: dict[str, Any], value_key: str, currency_key: str) -> None:
    """Value and currency of mapped fields (Any: JSON), made right in place.

    Without a value the conversion action's own holds, with its currency: none is made up.
    """
    value = amount(fields.get(value_key))
    code = currency_code(fields.get(currency_key))
    for key, right in ((value_key, value), (currency_key, None if value is None else code)):
        if right is not None:
            fields[key] = right
        else:
            fields.pop(key, None)


def identifiers_of(fields: dict[str, Any], country_code: str | None) -> list[dict[str, Any]]:
    """The hashed identifiers in the mapped fields (Any: JSON), taken out of them."""
    given = fields.pop("userIdentifiers", None)
    if not isinstance(given, dict):
        return []
    found: list[dict[str, Any]] = list(
        user_identifiers(given.get("hashedEmail"), given.get("hashedPhoneNumber"), country_code)
    )
    address = address_info(given.get("addressInfo"))
    return [*found, {"addressInfo": address}] if address is not None else found


def cart_of(
    event: Event,
    given: object,
    feed: Mapping[str, Any],  # Any: text or number
    product_id: Literal["id", "sku"],
) -> dict[str, Any] | None:  # Any: JSON
    """The cart: items, with what of it is mapped or, where that says nothing, in the settings.

    None without an item. https://developers.google.com/google-ads/api/reference/rpc/latest/CartData
    """
    items = [item for product in event.line_items if (item := _item(product, product_id))]
    if not items:
        return None
    mapped = given if isinstance(given, dict) else {}
    cart = dict(feed)
    if (merchant := whole(mapped.get("merchantId"))) is not None and 0 < merchant < 2**53:
        cart["merchantId"] = merchant
    for key in ("feedCountryCode", "feedLanguageCode"):
        if text := (text_of(mapped.get(key)) or "").strip():
            cart[key] = text
    if cost := amount(mapped.get("localTransactionCost")):
        cart["localTransactionCost"] = cost
    cart["items"] = items
    return cart


def _item(product: LineItem, product_id: Literal["id", "sku"]) -> dict[str, Any] | None:
    """A product as an item; None without an id, or where none of it was sold. Any: JSON."""
    found = product.key if product_id == "id" else product.sku or product.key
    quantity, price = product.quantity, product.price
    if quantity is None:
        quantity = 1
    if found is None or not 0 < quantity <= _MOST_PIECES:
        return None
    if quantity != int(quantity):
        # Goods by weight: the API counts pieces, so that it is one, at the price of all of it.
        quantity, price = 1, product.worth
    item: dict[str, Any] = {"productId": found, "quantity": int(quantity)}
    if price is not None:
        item["unitPrice"] = price
    return item


def pairs_of(given: object, key: str, value_key: str, prefix: str = "") -> Sequence[dict[str, str]]:
    """An object of names and values as a list of pairs, each under these two keys."""
    if not isinstance(given, dict):
        return []
    return [
        {key: f"{prefix}{name}", value_key: text[:_PAIR_CHARS]}
        for name, value in list(given.items())[:_MOST_PAIRS]
        if (text := text_of(value))
    ]
