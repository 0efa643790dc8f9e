"""Events are split into requests by count and bytes, and none is lost."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from destinations.kit import Endpoint, Item
from destinations.kit.sending import split


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60)), max_size=40),
    st.integers(1, 7),
    st.integers(10, 120),
)
def test_split_keeps_limits_and_events(
    shapes: list[tuple[int, int]], max_items: int, max_bytes: int
) -> None:
    """Every event is in one request or too large, and no request is over a limit."""
    endpoints = [Endpoint("http://a", max_items, max_bytes), Endpoint("http://b", 3, max_bytes)]
    items = [
        (index, Item(endpoints[which], b'"' + b"x" * size + b'"'))
        for index, (which, size) in enumerate(shapes)
    ]
    parts, too_large = split(items)
    seen = [index for part in parts for index in part.indices] + [index for index, _ in too_large]
    assert sorted(seen) == list(range(len(items)))
    for part in parts:
        body = part.endpoint.request(part.items).body
        assert len(body) <= max_bytes
        assert len(part.items) <= part.endpoint.max_items
        assert len(json.loads(body)) == len(part.items) == len(part.indices)
        assert part.indices == sorted(part.indices)
