"""What each of Segment's e-commerce events becomes among Google Analytics' recommended ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from destinations.google_analytics.mapping import Mapper, Stream
from destinations.kit import Event, Item

MAPPER = Mapper(Stream("https://www.google-analytics.com", "G-1", "s"), {})
IN_EUROS = Mapper(Stream("https://www.google-analytics.com", "G-1", "s"), {}, currency="EUR")
SHIRT = {"product_id": "p1", "sku": "s1", "name": "Shirt", "price": 10, "quantity": 2}
SHIRT_ITEM = {"item_id": "p1", "item_name": "Shirt", "price": 10.0, "quantity": 2}


def sent(event: str, mapper: Any = MAPPER, **properties: Any) -> Any:  # Any: JSON
    fields = {"type": "track", "event": event, "anonymousId": "a", "properties": properties}
    said = mapper.item(Event(json.dumps(fields).encode()), datetime(2026, 1, 3, tzinfo=UTC))
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
    """Revenue, else the total without tax and shipping, else the sum of the products' prices.

    Nobody has named a currency, so that none is sent.
    """
    said = sent("Order Completed", **properties)["params"]
    assert said.get("value") == value
    assert "currency" not in said
    for event in ("order_refunded", "Completed Order", "purchase", "CheckoutStarted"):
        assert sent(event, **properties)["params"].get("value") == value


@pytest.mark.parametrize("currency", ["points", "€", 5, []])
def test_what_is_no_currency(currency: object) -> None:
    """A value in what is no currency is left out: it would be counted as something else."""
    for mapper in (MAPPER, IN_EUROS):
        said = sent("Order Completed", mapper, revenue=5, currency=currency)["params"]
        assert "value" not in said
        assert "currency" not in said


@pytest.mark.parametrize(
    ("properties", "said", "value", "default"),
    [
        ({"value": 40, "currency": "gbp"}, "GBP", 40, "GBP"),
        ({"value": "40", "Currency Code": "GBP"}, "GBP", 40, "GBP"),
        ({"value": 40, "products": [{"product_id": "p", "price": 20, "currency": "GBP"}]},
         "GBP", 40, "GBP"),
        ({"products": [{"sku": "p", "price": 20, "quantity": "2", "currency": "GBP"},
                       {"sku": "q", "price": 20, "currency": "gbp"}]}, "GBP", 60, "GBP"),
        ({"value": 4, "products": [{"sku": "p", "price": 2, "currency": "GBP"},
                                   {"sku": "q", "price": 2, "currency": "EUR"}]}, None, 4, "EUR"),
        ({"value": 40}, None, 40, "EUR"),
        ({"value": 40, "currency": None}, None, 40, "EUR"),
        ({"value": 40, "currency": " "}, None, 40, "EUR"),
        ({"products": [{"sku": "p"}]}, None, None, "EUR"),
        ({}, None, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("event", ["Checkout Started", "Order Completed", "Cart Viewed"])
def test_currency(
    event: str, properties: dict[str, Any], said: str | None, value: float | None, default: str
) -> None:
    """The event's currency, else its products', else the settings'; none is invented."""
    made = sent(event, **properties)["params"]
    assert (made.get("currency"), made.get("value")) == (said, value)
    made = sent(event, IN_EUROS, **properties)["params"]
    assert (made.get("currency"), made.get("value")) == (default, value)


def test_refund() -> None:
    """A refund names its order, and the products that were given back."""
    assert sent("Order Refunded", order_id="o", total=5, products=[SHIRT]) == {
        "name": "refund",
        "params": {
            "transaction_id": "o",
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
        "params": {"value": 20.0, "items": [SHIRT_ITEM]},
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


@pytest.mark.parametrize("event", ["Promotion Viewed", "promotion_clicked", "Viewed Promotion",
                                   "view_promotion", "Select Promotion"])  # fmt: skip
@pytest.mark.parametrize("key", ["products", "Products", "items"])
def test_promoted_products(event: str, key: str) -> None:
    """A promotion's products are its items; its own name and place are no product's."""
    products = [None, {"product_id": "a", "price": "3"}, {"item_id": "b", "promotion_id": "p8"}]
    said = sent(event, **{"promotion_id": "p9", "name": "May", "position": 2, key: products})
    assert said["params"] == {
        "promotion_id": "p9",
        "promotion_name": "May",
        "creative_slot": "2",
        "items": [{"item_id": "a", "price": 3.0}, {"item_id": "b", "promotion_id": "p8"}],
    }
    assert said["name"] in ("view_promotion", "select_promotion")


def test_promotion_of_one_product() -> None:
    """A promotion with a product's id in its properties has that item, without its own name."""
    said = sent("Promotion Viewed", promotion_id="p9", name="May", product_id="a", price=3)
    assert said["params"] == {
        "promotion_id": "p9",
        "promotion_name": "May",
        "items": [{"item_id": "a", "price": 3.0}],
    }
    assert "items" not in sent("Promotion Viewed", id="p9", name="May")["params"]


@pytest.mark.parametrize(
    "event",
    ["Product Added", "Product Viewed", "Product Clicked", "Product Removed", "addedProduct",
     "Product Added to Wishlist", "add_to_cart", "view-item"],
)  # fmt: skip
@pytest.mark.parametrize(
    "place",
    [
        {"products": [{"product_id": "p1", "price": 4, "quantity": 2}]},
        {"items": [None, {"item_id": "p1", "price": "4", "quantity": "2"}]},
        {"product": {"productId": "p1", "Price": 4, "quantity": 2}},
        {"products": {"id": "p1", "price": 4, "quantity": 2}},
        {"product_id": "p1", "price": "4.00", "Quantity": "2"},
        {"itemId": "p1", "unit_price": 4, "qty": 2},
    ],
)
def test_one_product_wherever_it_stands(event: str, place: dict[str, Any]) -> None:
    """An event about one product has its item, value and currency, in a list or in itself."""
    said = sent(event, currency="EUR", **place)["params"]
    assert said == {
        "currency": "EUR",
        "value": 8.0,
        "items": [{"item_id": "p1", "price": 4.0, "quantity": 2}],
    }


def test_product_without_an_id() -> None:
    """What is no product stays a parameter, and its price the event's value."""
    said = sent("Product Added", price=4, quantity="2", currency="EUR")["params"]
    assert said == {"value": 8.0, "currency": "EUR", "price": 4, "quantity": 2}


def test_items_of_googles_names() -> None:
    """Who moved from Google's tag keeps its names: of events, of orders and of products."""
    item = {"item_id": "s1", "item_name": "Mug", "price": 10, "item_category2": "Blue",
            "location_id": "L1", "item_list_id": "related", "index": 0}  # fmt: skip
    expected = {"transaction_id": "o1", "value": 20, "items": [item]}
    assert sent("Order Completed", order_id="o1", revenue=20, products=[item])["params"] == expected
    for key in ("items", "products"):
        said = sent("purchase", **{"transaction_id": "o1", "value": 20, key: [item]})
        assert said == {"name": "purchase", "params": expected}
    assert sent("Add To Cart", items=[{**item, "quantity": 2}])["name"] == "add_to_cart"


def test_all_of_a_flat_item() -> None:
    """The product in an event's own properties has all that Google Analytics knows of items."""
    said = sent(
        "Product Clicked",
        product_id=7, sku="s", name="Mug", brand="B", category="Kitchen", variant="red",
        price="$1,200.50", quantity=1, coupon="MAY", discount="1.5", position="3", affiliation="A",
        list_id="l", list_name="Deals", item_category2="Blue", location_id="L1",
        url="https://x.de/", image_url="https://x.de/i", colour="red", currency="usd",
    )  # fmt: skip
    assert said["params"] == {
        "item_list_id": "l",
        "item_list_name": "Deals",
        "currency": "USD",
        "value": 1200.5,
        "items": [
            {
                "item_id": "7",
                "item_name": "Mug",
                "item_brand": "B",
                "item_category": "Kitchen",
                "item_variant": "red",
                "price": 1200.5,
                "quantity": 1,
                "coupon": "MAY",
                "discount": 1.5,
                "index": 3,
                "affiliation": "A",
                "item_list_id": "l",
                "item_list_name": "Deals",
                "item_category2": "Blue",
                "location_id": "L1",
            }
        ],
        "url": "https://x.de/",
        "image_url": "https://x.de/i",
        "colour": "red",
    }


@pytest.mark.parametrize("event", ["Order Completed", "Order Refunded", "refund", "Refunded Order"])
def test_which_order(event: str) -> None:
    """The order's id is `order_id` in any order of keys; `id` only where there is no other."""
    given: dict[str, Any]
    for given in (
        {"id": 77, "order_id": "o-1"},
        {"order_id": "o-1", "id": 77},
        {"transactionId": "t", "Order ID": "o-1"},
        {"transaction_id": "o-1", "orderNumber": 5},
        {"order_id": " ", "transaction_id": "o-1", "id": 77},
    ):
        assert sent(event, **given)["params"]["transaction_id"] == "o-1"
    assert sent(event, id=77)["params"] == {"transaction_id": "77"}


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"revenue": 0, "total": 40}, 40),
        ({"revenue": 0, "total": 5, "shipping": 5}, 0),
        ({"revenue": 0}, 0),
        ({"revenue": "0", "value": 3}, 3),
        ({"revenue": "1,200"}, None),
        ({"revenue": "1,200", "total": "1,200.00"}, 1200),
        ({"subtotal": 20}, 20),
        ({"subtotal": 20, "total": 30, "tax": "4", "shipping": "5"}, 21),
    ],
)
def test_worth_of_odd_orders(properties: dict[str, Any], value: float | None) -> None:
    """A revenue of 0 gives way to a total, and a doubtful number to any other."""
    assert sent("Order Completed", **properties)["params"].get("value") == value


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"value": "3", "products": [SHIRT]}, 3),
        ({"products": [SHIRT], "total": 99}, 20),
        ({"products": [{"sku": "s"}], "total": 99}, 99),
        ({"total": 99, "tax": 9}, 90),
        ({"revenue": 7}, 7),
        ({"products": [{"sku": "s", "price": 2, "quantity": 1.5}]}, 3),
        ({"products": [{"sku": "s", "price": 2, "quantity": 0}]}, 0),
    ],
)
def test_worth_of_carts(properties: dict[str, Any], value: float) -> None:
    """A cart is worth its value, else its products, else what is said of revenue or total."""
    for event in ("Cart Viewed", "Payment Info Entered", "view_cart"):
        assert sent(event, **properties)["params"].get("value") == value


def test_lists_of_some_name() -> None:
    """A list's own name is no product's; its category gives way to a name."""
    said = sent("Product List Viewed", name="x", list_id=5, list_name="Deals", category="Shop")
    assert said["params"] == {
        "item_list_id": "5",
        "item_list_name": "Deals",
        "category": "Shop",
        "name": "x",
    }


@pytest.mark.parametrize(
    "event", ["Lead Generated", "lead_generated", "generate_lead", "leadGenerated"]
)
def test_leads(event: str) -> None:
    """A lead is Google's own event, and its value a number with its currency."""
    expected = {"value": 300, "currency": "USD"}
    assert sent(event, value="300", currency="usd") == {"name": "generate_lead", "params": expected}
    assert sent(event, total="300", currency="USD")["params"] == expected
    assert sent(event, value="300")["params"] == {"value": 300}
    assert sent(event, IN_EUROS, value="300", x=1)["params"] == {
        **expected,
        "currency": "EUR",
        "x": 1,
    }
    assert sent(event, IN_EUROS, lead_source="fair")["params"] == {"lead_source": "fair"}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"value": "300", "currency": "usd"}, {"value": 300, "currency": "USD"}),
        ({"Value": "$300.50"}, {"value": 300.5}),
        ({"value": "1,200"}, {"value": "1,200"}),
        ({"value": "high", "currency": "points"}, {"value": "high", "currency": "points"}),
        ({"price": "3", "tax": "1", "quantity": "2"}, {"price": 3, "tax": 1, "quantity": 2}),
        ({"total": "80.5", "sku": "007"}, {"total": 80.5, "sku": "007"}),
        ({"value": True}, {"value": "true"}),
    ],
)
def test_amounts_of_custom_events(properties: dict[str, Any], expected: dict[str, Any]) -> None:
    """Amounts are numbers in events of any name; what is no number for sure stays as it is."""
    assert sent("Quote Sent", **properties)["params"] == expected
    assert sent("Checkout Step Viewed", **properties)["params"] == expected


def test_first_version_of_the_spec() -> None:
    """The first version's names of events mean the same."""
    for old, new in {
        "Completed Order": "purchase",
        "Refunded Order": "refund",
        "Viewed Product": "view_item",
        "Added Product": "add_to_cart",
        "Removed Product": "remove_from_cart",
        "Viewed Product Category": "view_item_list",
        "Clicked Promotion": "select_promotion",
    }.items():
        assert sent(old)["name"] == new
