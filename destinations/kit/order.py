"""What was bought: the accessors for e-commerce events.

The rules stand in `commerce.py` (orders, worth, currency), `products.py` (what a product is called
and where it stands) and `numbers.py` (amounts).
"""

from __future__ import annotations

from typing import Any

from destinations.kit import commerce
from destinations.kit.lookup import Lookup, plain_text
from destinations.kit.numbers import amount
from destinations.kit.paths import find
from destinations.kit.products import LineItem, line_items, objects


class Order(Lookup):
    """Accessors for money and goods. Amounts are in `currency`."""

    __slots__ = ()

    @property
    def products(self) -> list[dict[str, Any]]:  # Any: decoded JSON
        """The objects in the list of products, as sent; `line_items` knows what is what in them."""
        return objects(find(self.properties, "products"))

    @property
    def line_items(self) -> list[LineItem]:
        """The products of the event, wherever they stand: in a list, or in its properties."""
        return line_items(self.properties, self._event_name(), self.plain_properties)

    @property
    def order_id(self) -> str | None:
        """The order's id: `order_id` first, whatever the order of the keys."""
        properties = self.properties
        for key in commerce.order_id_paths(self._event_name()) if properties else ():
            text = plain_text(find(properties, key))
            if text and (text := text.strip()):
                return text
        return None

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
    def currency(self) -> str | None:
        """The currency's code in capitals: the event's, else the one that its products share."""
        own = commerce.own_currency(self.properties)
        return commerce.shared_currency(self.line_items) if own is None else own

    @property
    def revenue(self) -> float | None:
        """What the event earned; of a completed order its total, if not given."""
        return commerce.revenue(self.properties, self._event_name())

    @property
    def worth(self) -> float | None:
        """What the event is worth to its sender: revenue, value or total, the first that is there.

        One of 0 is there. Without any it is None: what the products cost together
        is `products_worth`.
        """
        return commerce.worth(self.properties, self._event_name())

    @property
    def products_worth(self) -> float | None:
        """What the products cost together, price times quantity; None without any price."""
        return commerce.products_worth(self.line_items)

    @property
    def subtotal(self) -> float:
        """`total` without tax, shipping and discount; 0 if unknown."""
        return commerce.subtotal(self.properties, self._event_name())

    @property
    def value(self) -> float | None:
        """The property `value`; `worth` looks further."""
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
        return amount(find(self.properties, key))

    def _event_name(self) -> str | None:
        event = find(self._decoded(), "event")
        return event if isinstance(event, str) else None
