"""Metadata of any properties: bounded, flat, and the same whatever the order of their keys."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from destinations.intercom.metadata import METADATA_KEYS, metadata, money
from destinations.kit import Event

NAMES = st.sampled_from(["a", "b.c", "order_date", "revenue", "Price", "amount", "currency", "url"])
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "12.5", "EUR"])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=60,
)


def turned(value: Any) -> Any:  # Any: JSON
    """The same with the keys of each object in the contrary order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(one) for one in value] if isinstance(value, list) else value


def about(properties: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    event = {"type": "track", "event": "E", "properties": properties}
    return metadata(Event(json.dumps(event).encode()), {}, properties, "USD")


@given(st.dictionaries(NAMES | st.text(max_size=3), JSON, max_size=30))
def test_any_properties(properties: dict[str, Any]) -> None:  # Any: JSON
    """At most twenty keys, each with a value of a form that Intercom has."""
    found = about(properties)
    assert len(found) <= METADATA_KEYS
    for value in found.values():
        is_flat = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        assert is_flat or set(value) in ({"amount", "currency"}, {"url", "value"})
    assert about(turned(properties)) == found


def test_money() -> None:
    """Hundredths of what is more than nothing, in a currency that is known."""
    assert money(0.1 + 0.2, "EUR") == {"amount": 30, "currency": "eur"}
    assert money(12.345, "jpy") == {"amount": 1234, "currency": "jpy"}
    assert money(1, None) is money(None, "EUR") is money(0, "EUR") is money(1e13, "EUR") is None
