"""What a product is called, and where products stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from destinations.kit import Event
from destinations.kit.products import LineItem


def event(called: str, /, **properties: object) -> Event:
    return Event(json.dumps({"type": "track", "event": called, "properties": properties}).encode())


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"product_id": 7, "id": "i"}, "id", "7"),
        ({"id": "i", "productId": "p"}, "id", "p"),
        ({"item_id": "s1", "item_name": "Mug"}, "id", "s1"),
        ({"item_id": "s1", "item_name": "Mug"}, "name", "Mug"),
        ({"id": 7.0}, "id", "7"),
        ({"SKU": " k "}, "sku", "k"),
        ({"sku": "k"}, "id", None),
        ({"sku": "k"}, "key", "k"),
        ({"product_id": "p", "sku": "k"}, "key", "p"),
        ({"product_id": "", "item_id": "s"}, "id", "s"),
        ({"Product Name": "Mug"}, "name", "Mug"),
        ({"item_brand": "B", "item_category": "C", "item_variant": "V"}, "brand", "B"),
        ({"item_category": "C", "category": "D"}, "category", "D"),
        ({"price": "1,200", "unit_price": "3.50"}, "price", 3.5),
        ({"qty": "2"}, "quantity", 2.0),
        ({"price": 2, "quantity": 3}, "worth", 6.0),
        ({"price": 2}, "worth", 2.0),
        ({"price": 2, "quantity": 0}, "worth", 0.0),
        ({"quantity": 2}, "worth", None),
        ({"price": 1e308, "quantity": 1e308}, "worth", None),
        ({"index": "3"}, "position", 3),
        ({"currency": "eur"}, "currency", "EUR"),
        ({"Image URL": "u"}, "image_url", "u"),
        ({"name": ["x"]}, "name", None),
        ({"name": "Mug", "Size": "L", "item_id": "s"}, "other", {"Size": "L"}),
    ],
)
def test_names(fields: dict[str, Any], name: str, expected: object) -> None:
    """Each field of a product is found by Segment's names, Google's and shops', in any case."""
    assert getattr(LineItem(fields), name) == expected


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("Order Completed", {"products": [None, {"product_id": "a"}, 5, {"sku": "b"}]}, ["a", "b"]),
        ("Product Added", {"products": [{"product_id": "a"}]}, ["a"]),
        ("Promotion Viewed", {"products": [{"product_id": "a"}], "id": "p9"}, ["a"]),
        ("Purchase", {"items": [{"item_id": "a"}]}, ["a"]),
        ("Order Completed", {"products": [], "items": [{"item_id": "a"}]}, ["a"]),
        ("Order Completed", {"Products": [{"item_id": "a"}]}, ["a"]),
        ("Product Viewed", {"product": {"id": "a"}}, ["a"]),
        ("Product Viewed", {"product": [None, {"id": "a"}]}, ["a"]),
        ("Cart Viewed", {"products": {"id": "a"}}, ["a"]),
        ("Cart Viewed", {"products": {}, "items": {"sku": "a"}}, ["a"]),
        ("Product Viewed", {"product_id": "a", "products": [None]}, ["a"]),
        ("Thing Shown", {"sku": "a"}, ["a"]),
        ("product_viewed", {"id": "a"}, ["a"]),
        ("Order Completed", {"id": "o", "name": "n"}, []),
        ("Promotion Viewed", {"id": "p9", "name": "May"}, []),
        ("Order Completed", {"products": "a"}, []),
    ],
)
def test_places(name: str, properties: dict[str, Any], expected: list[str]) -> None:
    """Products stand in a list, in an object, or are the event itself; what is none is left out."""
    assert [item.key for item in event(name, **properties).line_items] == expected


def test_products_as_sent() -> None:
    """The list of products holds objects only."""
    assert event("x", products=[None, {"a": 1}, "b"]).products == [{"a": 1}]
    assert event("x", products={"a": 1}).products == []


def test_worth_of_products() -> None:
    """Products are worth what those with a price cost together."""
    items = [{"price": 4, "quantity": 2}, {"price": "0.10"}, {"quantity": 9}]
    assert event("x", products=items).products_worth == 8.1
    assert event("x", products=[{"sku": "a"}]).products_worth is None
