"""Rows of one type and name give what the whole expressions give, and know what they read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.kit import Event, MappingTable
from destinations.kit.mapping.evaluation import Scope, as_json, evaluator
from destinations.kit.mapping.grammar import parse
from tests.harness.vendors import event_of

EXPRESSIONS = (
    "if event is 'Order Completed' then properties.a else properties.b",
    "if event in ('Order Completed', 'Order Refunded') then properties.a",
    "if event is not 'Order Completed' then properties.a",
    "if not (event is 'Order Completed' or event is '5') then properties.a",
    "if event is 'Order Completed' and properties.a exists then properties.a else 'c'",
    "if event is 'Order Completed' or properties.a exists then 'one' else properties.b",
    "if properties.a > 1 then (if event is 'X' then 'x') else (if event is 'Y' then 'y')",
    "(if event is 'Order Completed' then properties.a) ?? properties.b ?? 'none'",
    "'{event}: {properties.a}'",
    "upper(if event is 'x' then properties.a)",
    "join(properties.list, if event is 'x' then ',' else ';')",
    "if event is 5 then 'five' else 'other'",
    "if event in (5, 'Order Completed') then 'five' else 'other'",
    "if event is '' then 'none' else 'some'",
    "if event is '!' then 'none' else 'some'",
    "if type is 'track' then 'track' else 'other'",
    "if type in ('page', 'Screen') then event ?? 'seen' else 'other'",
    "if @event is 'Order Completed' then 1 else 2",
    "if event exists then 1 else 2",
    "if event > 4 then 1 else 2",
)
NAMES: tuple[object, ...] = (
    *("Order Completed", "order_completed", " ORDER COMPLETED ", "Order Refunded", "x", "X", "y"),
    *("5", 5, 5.0, -5, "-5", 5.5, True, None, "", " ", "!", "Other", [], {}, "é" * 200),
)
VALUES: dict[str, Any] = {"a": 2, "b": "B", "list": [1, "z"]}


def whole(expression: str, event: Event) -> Any:  # Any: JSON
    """What the expression gives where nothing of it is decided beforehand."""
    return as_json(evaluator(parse(expression))(Scope(event)))


@pytest.mark.parametrize("event_type", ["track", "page", "identify"])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_as_the_whole(expression: str, event_type: str) -> None:
    """For each name and type, a field is what the whole expression gives."""
    mapper = MappingTable(**{event_type: {"field": expression}}).mapper()
    for name in NAMES:
        for properties in (VALUES, {"b": 1}, {}):
            event = event_of(type=event_type, event=name, properties=properties)
            assert mapper.fields(event).get("field") == whole(expression, event), name


@given(
    st.lists(st.sampled_from(EXPRESSIONS), max_size=4),
    st.sampled_from(NAMES) | st.text(max_size=3),
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers() | st.text(max_size=2) | st.none()),
)
def test_tables(expressions: list[str], name: object, properties: dict[str, Any]) -> None:
    """The same of whole tables."""
    table = {f"f{index}": expression for index, expression in enumerate(expressions)}
    event = event_of(type="track", event=name, properties=properties)
    expected = {target: whole(expression, event) for target, expression in table.items()}
    assert MappingTable(track=table).mapper().fields(event) == {
        target: value for target, value in expected.items() if value is not None
    }


def test_what_they_read() -> None:
    """What properties, traits and accessors the rows of a name read, and which fields they have."""
    mapper = MappingTable(
        track={
            "term": "if event is 'Products Searched' then properties.query",
            "name": "upper('{properties.\"Plan Name\"} {traits.level}')",
            "worth": "if event is 'Order Completed' then @worth",
        }
    ).mapper()
    searched = mapper.rows(event_of(type="track", event="products_searched"))
    other = mapper.rows(event_of(type="track", event="Other"))
    ordered = mapper.rows(event_of(type="track", event="Order Completed"))
    assert searched.reads("properties") == {"query", "planname"}
    assert searched.targets == {"term", "name"}
    assert other.reads("properties") == {"planname"}
    assert other.reads("traits") == {"level"}
    assert ordered.asks() == {"worth"}
    assert other.asks() == frozenset()
    assert mapper.rows(event_of(type="other")).targets == frozenset()


def test_an_accessor_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fields of an event need an accessor, it is asked once."""
    table = MappingTable(track={"a": "@campaign.source", "b": "@campaign.medium"})
    asked = []

    class Asked(Event):
        __slots__ = ()

        @property
        def context(self) -> Any:  # Any: JSON
            asked.append(1)
            return {"campaign": {"source": "news", "medium": "email"}}

    event = Asked(b'{"type":"track"}')
    assert table.mapper().fields(event) == {"a": "news", "b": "email"}
    assert len(asked) == 1
