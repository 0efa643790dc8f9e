"""What each of Segment's e-commerce events becomes among Google Analytics' recommended ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from destinations.google_analytics.mapping import Mapper, Stream
from destinations.kit import Event, Item

MAPPER = Mapper(Stream("https://www.google-analytics.com", "G-1", "s"), {})
SHIRT = {"product_id": "p1", "sku": "s1", "name": "Shirt", "price": 10, "quantity": 2}
SHIRT_ITEM = {"item_id": "p1", "item_name": "Shirt", "price": 10.0, "quantity": 2}


def sent(event: str, **properties: Any) -> Any:  # Any: JSON
    fields = {"type": "track", "event": event, "anonymousId": "a", "properties": properties}
    said = MAPPER.item(Event(json.dumps(fields).encode()), datetime(2026, 1, 3, tzinfo=UTC))
    assert isinstance(said, Item)
    made = json.loads(said.body)
    assert made["params"].pop("engagement_time_msec") == 1
    return made


def test_order_completed() -> None:
    """An order is a purchase: its id, its value without tax and shipping, its products."""
    said = sent(
        "Order Completed",
        order_id=50314,
        checkout_id="c1",
        affiliation="Shop",
        total="27.50",
        revenue=25.0,
        shipping="3",
        tax=2,
        discount=2.5,
        coupon="hasbros",
        currency="eur",
        products=[
            {
                **SHIRT,
                "brand": "B",
                "category": "Games",
                "variant": "red",
                "coupon": "c",
                "position": "3",
                "discount": "1.5",
                "url": "https://x/",
                "size_l": True,
                "nested": {},
            },
            {"sku": "s2", "quantity": "1", "price": "$5"},
            {"price": 5},
            "Shirt",
            None,
        ],
    )
    assert said == {
        "name": "purchase",
        "params": {
            "transaction_id": "50314",
            "affiliation": "Shop",
            "coupon": "hasbros",
            "tax": 2.0,
            "shipping": 3.0,
            "currency": "EUR",
            "value": 25.0,
            "items": [
                {
                    "url": "https://x/",
                    "size_l": "true",
                    **SHIRT_ITEM,
                    "item_brand": "B",
                    "item_category": "Games",
                    "item_variant": "red",
                    "coupon": "c",
                    "index": 3,
                    "discount": 1.5,
                },
                {"quantity": 1, "price": 5.0, "item_id": "s2"},
            ],
            "checkout_id": "c1",
            "discount": 2.5,
        },
    }


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"revenue": 7}, 7.0),
        ({"revenue": "$7.5", "total": 9}, 7.5),
        ({"total": 10, "tax": 1, "shipping": 2.5}, 6.5),
        ({"total": 10}, 10.0),
        ({"value": 3, "total": 10}, 3.0),
        ({"products": [SHIRT, {"name": "x", "price": 0.1}]}, 20.1),
        ({"products": [{"name": "x", "price": 1e308, "quantity": 10}]}, None),
        ({"revenue": "much", "products": "all"}, None),
        ({}, None),
    ],
)
def test_worth_of_an_order(properties: dict[str, Any], value: float | None) -> None:
    """Revenue, else the total without tax and shipping, else the sum of the products' prices."""
    said = sent("Order Completed", **properties)["params"]
    assert said.get("value") == value
    assert said.get("currency") == (None if value is None else "USD")


def test_no_currency() -> None:
    """A value in what is no currency is left out: it would be counted as something else."""
    said = sent("Order Completed", revenue=5, currency="points")["params"]
    assert "value" not in said
    assert "currency" not in said


def test_refund() -> None:
    """A refund names its order, and the products that were given back."""
    assert sent("Order Refunded", order_id="o", total=5, products=[SHIRT]) == {
        "name": "refund",
        "params": {
            "transaction_id": "o",
            "currency": "USD",
            "value": 5.0,
            "items": [SHIRT_ITEM],
        },
    }


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("Product Viewed", "view_item"),
        ("product_added", "add_to_cart"),
        ("PRODUCT REMOVED", "remove_from_cart"),
        ("ProductAddedToWishlist", "add_to_wishlist"),
        ("Product Clicked", "select_item"),
    ],
)
def test_one_product(event: str, name: str) -> None:
    """Events about one product, however spelled, have it as their item, and not twice."""
    assert sent(event, **SHIRT, currency="USD", cart_id="k") == {
        "name": name,
        "params": {
            "currency": "USD",
            "value": 20.0,
            "items": [SHIRT_ITEM],
            "cart_id": "k",
        },
    }


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("Cart Viewed", "view_cart"),
        ("Checkout Started", "begin_checkout"),
        ("Payment Info Entered", "add_payment_info"),
    ],
)
def test_carts(event: str, name: str) -> None:
    """Carts have their products as items, whose prices make up their value."""
    assert sent(event, products=[SHIRT]) == {
        "name": name,
        "params": {"currency": "USD", "value": 20.0, "items": [SHIRT_ITEM]},
    }


@pytest.mark.parametrize("event", ["Product List Viewed", "Product List Filtered"])
def test_lists(event: str) -> None:
    """Lists are viewed with their id, and their category as name."""
    said = sent(event, list_id="l", category="Deals", products=[{"name": "x", "position": 1}])
    assert said == {
        "name": "view_item_list",
        "params": {
            "item_list_id": "l",
            "item_list_name": "Deals",
            "items": [{"item_name": "x", "index": 1}],
        },
    }


@pytest.mark.parametrize(
    ("event", "name"),
    [("Promotion Viewed", "view_promotion"), ("Promotion Clicked", "select_promotion")],
)
def test_promotions(event: str, name: str) -> None:
    """Promotions keep their id, name, creative and place."""
    given = {"promotion_id": 7, "name": "Sale", "creative": "banner", "position": "top"}
    assert sent(event, **given) == {
        "name": name,
        "params": {
            "promotion_id": "7",
            "promotion_name": "Sale",
            "creative_name": "banner",
            "creative_slot": "top",
        },
    }


def test_others() -> None:
    """Searches, payments, shares and sign-ups have their parameters under Google's names."""
    assert sent("Products Searched", query="red") == {
        "name": "search",
        "params": {"search_term": "red"},
    }
    paid = sent("Payment Info Entered", payment_method="Visa", step=2)
    assert paid["params"] == {"payment_type": "Visa", "step": 2}
    shared = sent("Product Shared", share_via="email", product_id="p")
    assert shared == {"name": "share", "params": {"method": "email", "item_id": "p"}}
    assert sent("Signed Up", method="Google")["params"] == {"method": "Google"}
    assert sent("Signed In", username="ann")["params"] == {}


@pytest.mark.parametrize("event", ["Order Updated", "Checkout Step Viewed", "Coupon Entered"])
def test_without_a_counterpart(event: str) -> None:
    """What Google recommends no event for goes under its own name."""
    said = sent(event, coupon_id="c", products=[SHIRT])
    assert said == {"name": event.replace(" ", "_"), "params": {"coupon_id": "c"}}


def test_limits_of_items() -> None:
    """At most 200 items go along, each with at most ten parameters of the sender's own."""
    products = [{"name": str(n), **{f"x{i}": i for i in range(20)}} for n in range(250)]
    items = sent("Cart Viewed", products=products)["params"]["items"]
    assert len(items) == 200
    assert len(items[0]) == 11


@pytest.mark.parametrize("products", [None, 5, "x", {}, [None], [[]], [5], [{}]])
def test_products_of_the_wrong_type(products: object) -> None:
    """What are no products are no items."""
    said = sent("Cart Viewed", products=products, price=[], quantity={})
    assert "items" not in said["params"]
