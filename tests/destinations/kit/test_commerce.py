"""What an event says of money, as Segment's facade documents it."""

from __future__ import annotations

import json

import pytest

from destinations.kit import Event
from destinations.kit.commerce import amount


def bought(name: str = "Order Completed", **properties: object) -> Event:
    return Event(json.dumps({"type": "track", "event": name, "properties": properties}).encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        ("$12.50", 12.5),
        ("12 EUR", 12.0),
        ("-.5", -0.5),
        ("free", None),
        ("1e999", None),
        (10**400, None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_amounts(value: object, expected: float | None) -> None:
    """An amount is a finite number, or one that text begins with after dollar signs."""
    assert amount(value) == expected


def test_revenue() -> None:
    """Revenue is the property, and the total only of a completed order without one."""
    assert bought(revenue="$5", total=9).revenue == 5.0
    assert bought(total=9).revenue == 9.0
    assert bought("completed_order", total=9).revenue == 9.0
    assert bought("Cart Viewed", total=9).revenue is None


def test_subtotal() -> None:
    """The subtotal is as given, else the total without tax, shipping and discount, else revenue."""
    assert bought(subtotal=4, total=9).subtotal == 4.0
    assert bought(total=20, tax=3, shipping="2", discount=1).subtotal == 16.0
    assert bought(revenue=7, tax=3).subtotal == 7.0
    assert bought(tax=3).subtotal == 0.0


def test_order() -> None:
    """Order id, currency and products are found, with USD and no products by default."""
    one = bought(orderId=7, currency="EUR", products=[{"sku": "a"}])
    assert (one.order_id, one.currency, one.products) == ("7", "EUR", [{"sku": "a"}])
    none = bought(currency=3, products="a")
    assert (none.order_id, none.currency, none.products) == (None, "USD", [])
