"""What an event says of money and orders."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.kit import Event


def bought(name: str = "Order Completed", **properties: object) -> Event:
    return Event(json.dumps({"type": "track", "event": name, "properties": properties}).encode())


def test_revenue() -> None:
    """Revenue is the property, and the total only of a completed order without one."""
    assert bought(revenue="$5", total=9).revenue == 5.0
    assert bought(total=9).revenue == 9.0
    assert bought("completed_order", total=9).revenue == 9.0
    assert bought("orderCompleted", revenue=0, total=9).revenue == 9.0
    assert bought(revenue=0).revenue == 0.0
    assert bought("Cart Viewed", total=9).revenue is None
    assert bought("Order Completed Twice", total=9).revenue is None


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"total": 80.5}, 80.5),
        ({"value": 1, "total": 2}, 1.0),
        ({"total": 2, "value": 1}, 1.0),
        ({"Revenue": "3.5", "value": 1}, 3.5),
        ({"revenue": 0, "value": 1}, 0.0),
        ({"revenue": "1,200", "value": "x", "total": "1,200.50"}, 1200.5),
        ({"revenue": True}, None),
        ({"price": 5}, None),
        ({}, None),
    ],
)
def test_worth(properties: dict[str, Any], expected: float | None) -> None:
    """An event of any name is worth its revenue, its value or its total, the first that is one."""
    assert bought("Quote Sent", **properties).worth == expected


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"currency": " usd "}, "USD"),
        ({"Currency": "EUR", "products": [{"currency": "GBP"}]}, "EUR"),
        ({"currency": "euros", "products": [{"currency": "gbp"}]}, "GBP"),
        ({"products": [{"currency": "GBP"}, {"price": 1}, {"currencyCode": "gbp"}]}, "GBP"),
        ({"products": [{"currency": "GBP"}, {"currency": "EUR"}]}, None),
        ({"items": [None, {"item_id": "a", "currency": "gbp"}]}, "GBP"),
        ({"product": {"sku": "a", "currency_code": "GBP"}}, "GBP"),
        ({"currency": 3}, None),
        ({"value": 5}, None),
    ],
)
def test_currency(properties: dict[str, Any], expected: str | None) -> None:
    """The currency is the event's, else that which its products share; none is invented."""
    assert bought(**properties).currency == expected


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("Order Completed", {"id": 77, "order_id": "o-1"}, "o-1"),
        ("Order Completed", {"order_id": "o-1", "id": 77}, "o-1"),
        ("Order Completed", {"orderId": 7}, "7"),
        ("Order Completed", {"transaction_id": "t", "id": 1}, "t"),
        ("Order Completed", {"order_id": " ", "id": "i"}, "i"),
        ("Sent", {"id": "i"}, "i"),
        ("Product Added", {"id": "i"}, None),
        ("promotion_viewed", {"id": "i"}, None),
        ("Product Added", {"order_id": "o"}, "o"),
        ("Order Completed", {}, None),
    ],
)
def test_order_id(name: str, properties: dict[str, Any], expected: str | None) -> None:
    """An order's id is `order_id` wherever it stands; `id` last, and never a product's."""
    assert bought(name, **properties).order_id == expected


def test_subtotal() -> None:
    """The subtotal is as given, else the total without tax, shipping and discount, else revenue."""
    assert bought(subtotal=4, total=9).subtotal == 4.0
    assert bought(total=20, tax=3, shipping="2", discount=1).subtotal == 16.0
    assert bought(revenue=7, tax=3).subtotal == 7.0
    assert bought(tax=3).subtotal == 0.0


MONEY = st.dictionaries(
    st.sampled_from(
        [
            *["revenue", "value", "total", "Total", "id", "order_id", "orderId", "Order ID"],
            *["currency", "CURRENCY", "tax", "products", "items", "sku"],
        ]
    ),
    st.sampled_from([None, 1, "2", "usd", "EUR", "1,200", [{"price": 3, "currency": "gbp"}, None]]),
    max_size=8,
)


@given(MONEY, st.randoms(use_true_random=False))
def test_order_of_keys(properties: dict[str, Any], random: Any) -> None:  # Any: hypothesis' Random
    """No rule depends on the order of JSON keys."""
    keys = list(properties)
    random.shuffle(keys)
    one, other = bought(**properties), bought(**{key: properties[key] for key in keys})
    for accessor in ("order_id", "worth", "revenue", "currency", "subtotal", "products_worth"):
        assert getattr(one, accessor) == getattr(other, accessor), accessor
