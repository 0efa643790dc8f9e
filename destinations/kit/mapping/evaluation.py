"""From the tree of an expression to a function of an event. Pure, total, and fast.

A function is made once and called per event, with a scope in which each object of the event is
read by its plain keys once, however many paths go through it. Never raises for an event; what an
expression gives is a value of the event itself, a constant, or bounded text (`functions.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from destinations.kit.event import Event
from destinations.kit.mapping.functions import ACCESSORS, FUNCTIONS, MOST_TEXT, Value, text_of
from destinations.kit.mapping.grammar import (
    Among,
    Both,
    Choice,
    Compared,
    Condition,
    Constant,
    Exists,
    FirstOf,
    FunctionCall,
    Literal,
    Node,
    Not,
    Path,
    Template,
)
from destinations.kit.numbers import amount
from destinations.kit.paths import find, normal, plain_keys


class Scope:
    """An event while its fields are mapped."""

    __slots__ = ("_answers", "_parents", "_plain", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._parents: dict[str, tuple[dict[str, Any], ...] | None] = {}
        self._answers: dict[Callable[[Event], Value], Value] = {}
        # By identity: the event keeps its objects alive, and nothing changes them meanwhile.
        self._plain: dict[int, tuple[Mapping[str, Any], bool]] = {}

    def answer(self, accessor: Callable[[Event], Value]) -> Value:
        """What an accessor of the event gives; it is asked once, however many fields need it."""
        answer = self._answers.get(accessor, self)
        if answer is self:  # which no answer is: None is one
            answer = self._answers[accessor] = accessor(self.event)
        return answer

    # Any: decoded JSON
    def plain(self, value: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """An object of the event by its plain keys, and whether some of them hold a dot."""
        found = self._plain.get(id(value))
        if found is None:
            is_properties = value is self.event.properties
            plain = self.event.plain_properties if is_properties else plain_keys(value)
            found = self._plain[id(value)] = plain, any("." in key for key in plain)
        return found

    # Any: decoded JSON
    def parents(
        self, name: str, places: _Places, steps: _Steps
    ) -> tuple[dict[str, Any], ...] | None:
        """The objects that a path leads through before its last key, found once for its siblings.

        None where a list, or a key with a dot, is on the way.
        """
        if name in self._parents:
            return self._parents[name]
        found: list[dict[str, Any]] = []
        is_plain = True
        for place in places(self.event):
            value: Value = place
            for key, plain_key in steps:
                if not isinstance(value, dict):
                    is_plain = is_plain and not isinstance(value, list)
                    value = None
                    break
                plain, has_dots = self.plain(value)
                is_plain = is_plain and not has_dots
                below = value.get(key)
                value = plain.get(plain_key) if below is None else below
            if isinstance(value, dict):
                found.append(value)
            elif isinstance(value, list):
                is_plain = False
        self._parents[name] = tuple(found) if is_plain else None
        return self._parents[name]


Evaluate = Callable[[Scope], Value]
Test = Callable[[Scope], bool]
_Places = Callable[[Event], tuple[Mapping[str, Any], ...]]  # Any: decoded JSON
#: Keys on a way through objects: as the path has them, and in plain form.
_Steps = tuple[tuple[str, str], ...]


def evaluator(node: Node) -> Evaluate:
    """The function of an expression."""
    match node:
        case Path():
            return _path(node)
        case Literal(value):
            return lambda scope: value
        case Template(parts):
            return _template(tuple(map(evaluator, parts)))
        case FirstOf(nodes):
            return _first(tuple(map(evaluator, nodes)))
        case FunctionCall(name, arguments):
            return _call(FUNCTIONS[name].call, tuple(map(evaluator, arguments)))
        case Choice(condition, then, otherwise):
            return _choice(
                test(condition), evaluator(then), evaluator(otherwise) if otherwise else None
            )


def test(condition: Condition) -> Test:
    """The function of a condition."""
    match condition:
        case Exists(node):
            evaluate = evaluator(node)
            return lambda scope: is_there(evaluate(scope))
        case Among(node, constants):
            return _among(node, constants)
        case Compared(node, sign, other):
            return _compared(evaluator(node), sign, evaluator(other))
        case Not(inner):
            tested = test(inner)
            return lambda scope: not tested(scope)
        case Both(conditions, is_any):
            tests = tuple(map(test, conditions))
            if is_any:
                return lambda scope: any(one(scope) for one in tests)
            return lambda scope: all(one(scope) for one in tests)


def is_there(value: Value) -> bool:
    """Whether it counts as a value where another could take its place: no blank text does."""
    return value is not None and not (isinstance(value, str) and not value.strip())


# --- paths ---


def _own_traits(event: Event) -> tuple[Mapping[str, Any], ...]:
    """The event's traits, and then, but for a group, those of its context."""
    traits = event.traits
    if event.type == "group":
        return (traits,)
    users = event.user_traits
    return (traits,) if users is traits else (traits, users)


def _context(event: Event) -> tuple[Mapping[str, Any], ...]:
    return (event.context,)


_ROOTS: Mapping[str, _Places] = {
    "traits": _own_traits,
    "properties": lambda event: (event.properties,),
    "context": _context,
    "options": _context,
}


def _path(path: Path) -> Evaluate:
    if path.accessor is not None:
        return _accessor(ACCESSORS[path.accessor], ".".join(path.segments))
    root = normal(path.segments[0])
    places = _ROOTS.get(root)
    if places is None:
        return _inside("", _whole_event, path.segments)
    if len(path.segments) == 1:
        return lambda scope: dict(places(scope.event)[0]) or None
    return _inside(root, places, path.segments[1:])


def _whole_event(event: Event) -> tuple[Mapping[str, Any], ...]:
    return (event.fields,)


def _accessor(accessor: Callable[[Event], Value], rest: str) -> Evaluate:
    if not rest:
        return lambda scope: scope.answer(accessor)
    return lambda scope: find(answer, rest) if (answer := scope.answer(accessor)) else None


def _inside(root: str, places: _Places, segments: tuple[str, ...]) -> Evaluate:
    steps = tuple((segment, normal(segment)) for segment in segments)
    *above, (key, plain_key) = steps
    way = tuple(above)
    # As the path has it: of keys that differ by style alone, each path has its own.
    name = "\0".join((root, *(segment for segment, _ in way)))

    def evaluate(scope: Scope) -> Value:
        parents = scope.parents(name, places, way)
        if parents is None:
            return _found(scope.event, places, segments)
        for parent in parents:
            value = parent.get(key)
            if value is None and parent:
                value = scope.plain(parent)[0].get(plain_key)
            if value is not None:
                return value
        return None

    return evaluate


def _found(event: Event, places: _Places, segments: tuple[str, ...]) -> Value:
    """The value at a path through lists, or through keys that hold dots themselves."""
    for place in places(event):
        value: Value = place
        for segment in segments:
            value = find(value, segment) if isinstance(value, (dict, list)) else None
        if value is None:
            value = find(place, ".".join(segments))
        if value is not None:
            return value
    return None


# --- values ---


def _template(parts: tuple[Evaluate, ...]) -> Evaluate:
    def evaluate(scope: Scope) -> Value:
        texts = []
        for part in parts:
            text = text_of(part(scope))
            if text is None:
                return None  # half of a text would be a wrong one
            texts.append(text)
        return "".join(texts)[:MOST_TEXT]

    return evaluate


def _first(nodes: tuple[Evaluate, ...]) -> Evaluate:
    def evaluate(scope: Scope) -> Value:
        for node in nodes:
            value = node(scope)
            if is_there(value):
                return value
        return None

    return evaluate


def _call(function: Callable[..., Value], arguments: tuple[Evaluate, ...]) -> Evaluate:
    if len(arguments) == 1:
        [only] = arguments

        def evaluate(scope: Scope) -> Value:
            value = only(scope)
            return None if value is None else function(value)

        return evaluate

    def evaluate_all(scope: Scope) -> Value:
        values = [argument(scope) for argument in arguments]
        return None if any(value is None for value in values) else function(*values)

    return evaluate_all


def _choice(condition: Test, then: Evaluate, otherwise: Evaluate | None) -> Evaluate:
    def evaluate(scope: Scope) -> Value:
        if condition(scope):
            return then(scope)
        return otherwise(scope) if otherwise is not None else None

    return evaluate


# --- conditions ---


def _among(node: Node, constants: tuple[Constant, ...]) -> Test:
    """Texts are equal character by character, but the names of events and types in any case style.

    A number equals the text that says it; true and false are only themselves.
    """
    evaluate = evaluator(node)
    flags = {value for value in constants if isinstance(value, bool)}
    numbers = {
        float(value)
        for value in constants
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    texts = {value for value in constants if isinstance(value, str)}
    is_name = node in (Path(("event",)), Path(("type",)), Path((), "event"), Path((), "type"))
    if is_name:
        texts = set(map(normal, texts))

    def tested(scope: Scope) -> bool:
        value = evaluate(scope)
        if value is None:
            return False
        if isinstance(value, bool):
            return value in flags
        if isinstance(value, str) and (normal(value) if is_name else value) in texts:
            return True
        if isinstance(value, (int, float)) and texts and text_of(value) in texts:
            return True
        return bool(numbers) and amount(value) in numbers

    return tested


def _compared(left: Evaluate, sign: str, right: Evaluate) -> Test:
    def tested(scope: Scope) -> bool:
        one, other = amount(left(scope)), amount(right(scope))
        if one is None or other is None:
            return False
        match sign:
            case ">":
                return one > other
            case ">=":
                return one >= other
            case "<":
                return one < other
            case _:
                return one <= other

    return tested


def as_json(value: Value) -> Any:  # Any: JSON
    """A value as it may stand in a request: times become text."""
    return text_of(value) if isinstance(value, datetime) else value
