"""What was bought: the accessors for e-commerce events.

Follows https://github.com/segmentio/facade/blob/master/lib/track.js; amounts are read by
`commerce.py`.
"""

from __future__ import annotations

from typing import Any

from destinations.kit import commerce
from destinations.kit.lookup import Lookup
from destinations.kit.paths import find


class Order(Lookup):
    """Accessors for money and goods. Amounts are in `currency`."""

    __slots__ = ()

    @property
    def products(self) -> list[Any]:  # Any: decoded JSON
        """The products of an order or a list; what the sender put there, in any shape."""
        value = find(self.properties, "products")
        return value if isinstance(value, list) else []

    @property
    def order_id(self) -> str | None:
        """The order's id; as in the facade, a property `id` comes before `order_id`."""
        return self._id("properties.id", "properties.order_id")

    @property
    def product_id(self) -> str | None:
        """The product's id, of an event about one product."""
        return self._id("properties.product_id")

    @property
    def sku(self) -> str | None:
        """The product's stock number."""
        return self._property_text("sku")

    @property
    def coupon(self) -> str | None:
        """The coupon's code."""
        return self._property_text("coupon")

    @property
    def currency(self) -> str:
        """The currency's code as sent; USD where there is none."""
        value = find(self.properties, "currency")
        return (value.strip() if isinstance(value, str) else "") or "USD"

    @property
    def revenue(self) -> float | None:
        """What the event earned; of a completed order its total, if not given."""
        event = self._decoded().get("event")
        return commerce.revenue(self.properties, event if isinstance(event, str) else None)

    @property
    def subtotal(self) -> float:
        """`total` without tax, shipping and discount; 0 if unknown."""
        event = self._decoded().get("event")
        return commerce.subtotal(self.properties, event if isinstance(event, str) else None)

    @property
    def value(self) -> float | None:
        """What the event is worth to its sender."""
        return self._amount("value")

    @property
    def total(self) -> float | None:
        """Revenue with discounts and coupons, tax and shipping."""
        return self._amount("total")

    @property
    def tax(self) -> float | None:
        """The tax of an order."""
        return self._amount("tax")

    @property
    def shipping(self) -> float | None:
        """The cost of shipping."""
        return self._amount("shipping")

    @property
    def discount(self) -> float | None:
        """What was taken off the price."""
        return self._amount("discount")

    @property
    def price(self) -> float | None:
        """The price of one piece."""
        return self._amount("price")

    @property
    def quantity(self) -> float:
        """How many pieces; 1 where it is not said."""
        return self._amount("quantity") or 1

    def _amount(self, key: str) -> float | None:
        return commerce.amount(find(self.properties, key))
