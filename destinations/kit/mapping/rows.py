"""A table's rows for events of one type and name: what its conditions on names leave of them. Pure.

Most tables say `if event in ('Order Completed', ...) then ...` of half of their fields. Which event
it is, is the same question for all of them, so it is answered once per name and not per event: the
rows of a name hold no such condition any more, and those of all names that no condition speaks of
are the same rows. What an expression gives stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from destinations.kit.event import Event
from destinations.kit.mapping.evaluation import Scope, as_json, evaluator
from destinations.kit.mapping.functions import text_of
from destinations.kit.mapping.grammar import (
    Among,
    Both,
    Choice,
    Compared,
    Condition,
    Exists,
    FirstOf,
    FunctionCall,
    Node,
    Not,
    Path,
    Template,
)
from destinations.kit.paths import find, normal

_EVENT, _TYPE = Path(("event",)), Path(("type",))


class Rows:
    """The fields of events that are alike in type and name."""

    __slots__ = ("_evaluators", "_trees")

    def __init__(self, trees: Mapping[str, Node]) -> None:
        self._trees = trees
        self._evaluators = tuple((target, evaluator(tree)) for target, tree in trees.items())

    def fields(self, event: Event) -> dict[str, Any]:  # Any: JSON
        """The fields of one of these events that have a value, in the table's order."""
        scope = Scope(event)
        found: dict[str, Any] = {}
        for target, evaluate in self._evaluators:
            value = evaluate(scope)
            if value is not None and (value := as_json(value)) is not None:
                found[target] = value
        return found

    @property
    def targets(self) -> frozenset[str]:
        """The fields that these events may get."""
        return frozenset(self._trees)

    def reads(self, root: Literal["traits", "properties"]) -> frozenset[str]:
        """The traits or properties, in plain form, that the expressions read by a path."""
        return reads(self._trees.values(), root)

    def asks(self) -> frozenset[str]:
        """The accessors (`@worth`) that the expressions read."""
        return frozenset(
            node.accessor
            for node in _nodes(self._trees.values())
            if isinstance(node, Path) and node.accessor is not None
        )


def rows_by_name(trees: Mapping[str, Node], event_type: str) -> dict[str, Rows]:
    """The rows of each event name that a condition speaks of, and under "" those of all others."""
    names = {name for tree in trees.values() for name in _names_in(tree)}
    return {
        name: Rows(
            {
                target: left
                for target, tree in trees.items()
                if (left := _pruned(tree, event_type, name)) is not None
            }
        )
        for name in ("", *sorted(names))
    }


def name_of(event: Event) -> str:
    """An event's name as conditions compare it; empty where it has none."""
    value = find(event.fields, "event")
    if isinstance(value, str):
        return normal(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (text_of(value) or "") if is_number else ""


def reads(trees: Iterable[Node], root: Literal["traits", "properties"]) -> frozenset[str]:
    """The traits or properties, in plain form, that expressions read by a path, and read whole.

    A mapping of `traits.address.city` takes a part: the rest of the address is sent all the same.
    """
    return frozenset(
        normal(node.segments[1])
        for node in _nodes(trees)
        if isinstance(node, Path)
        and node.accessor is None
        and len(node.segments) == 2
        and normal(node.segments[0]) == root
    )


def _nodes(trees: Iterable[Node]) -> Iterator[Node]:
    """All values in expressions; those that are only compared are not among them."""
    left = list(trees)
    while left:
        node = left.pop()
        yield node
        match node:
            case Template(nodes) | FirstOf(nodes) | FunctionCall(_, nodes):
                left += nodes
            case Choice(_, then, otherwise):
                left += [then] if otherwise is None else [then, otherwise]
            case _:
                pass  # a constant, or a path


def _names_in(tree: Node) -> Iterator[str]:
    for node in _nodes([tree]):
        if isinstance(node, Choice):
            yield from _names_asked(node.condition)


def _names_asked(condition: Condition) -> Iterator[str]:
    match condition:
        case Among(node, constants) if node == _EVENT:
            yield from (normal(one) for one in constants if isinstance(one, str))
        case Not(inner):
            yield from _names_asked(inner)
        case Both(conditions, _):
            for one in conditions:
                yield from _names_asked(one)
        case Among() | Exists() | Compared():
            pass


def _pruned(tree: Node, event_type: str, name: str) -> Node | None:
    """An expression without what another name or type would have; None where nothing is left."""

    def of(node: Node) -> Node | None:
        return _pruned(node, event_type, name)

    match tree:
        case Choice(condition, then, otherwise):
            holds = _decided(condition, event_type, name)
            if holds is None:
                return Choice(
                    condition, of(then) or then, otherwise and (of(otherwise) or otherwise)
                )
            left = then if holds else otherwise
            return None if left is None else of(left)
        case FirstOf(nodes):
            some = tuple(left for node in nodes if (left := of(node)) is not None)
            return FirstOf(some) if some else None
        case Template(nodes):
            parts = tuple(left for node in nodes if (left := of(node)) is not None)
            return Template(parts) if len(parts) == len(nodes) else None
        case FunctionCall(function, nodes):
            given = tuple(left for node in nodes if (left := of(node)) is not None)
            return FunctionCall(function, given) if len(given) == len(nodes) else None
        case _:
            return tree


def _decided(condition: Condition, event_type: str, name: str) -> bool | None:
    """Whether a condition holds for the name and type alone; None where more has to be known."""
    match condition:
        case Among(node, constants) if node == _TYPE and _are_names(constants):
            return normal(event_type) in map(normal, map(str, constants))
        case Among(node, constants) if node == _EVENT and _are_names(constants):
            return name in map(normal, map(str, constants))
        case Not(inner):
            holds = _decided(inner, event_type, name)
            return None if holds is None else not holds
        case Both(conditions, is_any):
            known = [_decided(one, event_type, name) for one in conditions]
            if is_any in known:
                return is_any
            return None if None in known else not is_any
        case _:
            return None


def _are_names(constants: tuple[object, ...]) -> bool:
    # A number among them equals names that are numbers; an empty one, names without a letter.
    return all(isinstance(one, str) and normal(one) for one in constants)
