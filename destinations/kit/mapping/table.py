"""Tables of target field to expression: a destination's defaults, and what users change of them.

Owns how the two become one, and the evaluation of a whole table for an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from destinations.kit.event import Event
from destinations.kit.mapping.grammar import MappingError, Node, parse
from destinations.kit.mapping.rows import Rows, name_of, reads, rows_by_name
from destinations.kit.spec import EVENT_TYPES, is_custom

#: An expression; a number is a constant, "" or false removes a default.
Expression = str | bool | int | float
#: `settings.mapping`: expressions by target field, or by event type and target field.
FieldMapping = dict[str, Expression | dict[str, Expression]]

#: Fields that a table may have, so that an event's output is bounded.
MOST_FIELDS = 500
_NO_ROWS = Rows({})


class MappingTable:
    """The default fields of a destination, by event type: target field and expression.

    Raises MappingError where an expression is none: a bug of the destination's.
    """

    def __init__(self, **fields: Mapping[str, str]) -> None:
        assert fields.keys() <= EVENT_TYPES, fields.keys()
        self._fields = {event_type: dict(table) for event_type, table in fields.items()}
        self._usual: dict[str, FieldMapper] = {}
        """Of connections that change no field, by what they do with custom events."""
        for event_type, target, expression in self.rows():
            try:
                parse(expression)
            except MappingError as error:
                raise MappingError(f"{event_type} {target}: {error}") from error

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Event type, target field and expression of each default."""
        for event_type, fields in self._fields.items():
            for target, expression in fields.items():
                yield event_type, target, expression

    def markdown(self, *event_types: str) -> list[str]:
        """The table for a page, of these types or all: lines of Markdown.

        What several types have alike is one line.
        """
        wanted = event_types or tuple(self._fields)
        types: dict[tuple[str, str], list[str]] = {}
        for event_type, target, expression in self.rows():
            if event_type in wanted:
                types.setdefault((target, expression), []).append(event_type)
        return [
            "| type | field | from |",
            "| --- | --- | --- |",
            *(
                f"| {', '.join(of)} | `{target}` | `{_in_cell(expression)}` |"
                for (target, expression), of in types.items()
            ),
        ]

    def mapper(
        self,
        mapping: Mapping[str, Expression | Mapping[str, Expression]] = {},
        custom_events: Literal["all", "none"] | Sequence[str] = "all",
    ) -> FieldMapper:
        """The defaults with what settings change of them; made once a connection.

        Connections that change nothing share one. `mapping` and `custom_events` are settings that
        `mapping_errors` has nothing against.
        """
        if mapping or not isinstance(custom_events, str):
            return FieldMapper(self._fields, mapping, custom_events)
        if custom_events not in self._usual:
            self._usual[custom_events] = FieldMapper(self._fields, mapping, custom_events)
        return self._usual[custom_events]


def _in_cell(expression: str) -> str:
    return expression.replace("|", "\\|").replace("\n", " ")


class FieldMapper:
    """The whole mapping of one connection: defaults and settings, compiled."""

    def __init__(
        self,
        defaults: Mapping[str, Mapping[str, str]],
        mapping: Mapping[str, Expression | Mapping[str, Expression]],
        custom_events: Literal["all", "none"] | Sequence[str],
    ) -> None:
        every, of_type = _split(mapping)
        self._own: dict[str, frozenset[str]] = {}
        self._trees: dict[str, dict[str, Node]] = {}
        self._rows: dict[str, dict[str, Rows]] = {}
        self._is_all = custom_events == "all"
        for event_type in EVENT_TYPES:
            own = {**every, **of_type.get(event_type, {})}
            self._own[event_type] = frozenset(own)
            merged: dict[str, Expression] = {**defaults.get(event_type, {}), **own}
            trees = {
                target: parse(_source(expression))
                for target, expression in merged.items()
                if not _removes(expression)
            }
            self._trees[event_type] = trees
            self._rows[event_type] = rows_by_name(trees, event_type)
            if event_type == "track":
                kept = {
                    target: tree
                    for target, tree in trees.items()
                    if self._is_all
                    or target in own
                    or (custom_events != "none" and target in custom_events)
                }
                self._custom_rows = (
                    self._rows["track"] if self._is_all else rows_by_name(kept, "track")
                )

    def rows(self, event: Event) -> Rows:
        """The fields that events of this type and name may get; none of no type of the spec."""
        event_type = event.type
        rows = self._rows.get(event_type) if event_type is not None else None
        if rows is None:
            return _NO_ROWS
        if not self._is_all and event_type == "track" and self._is_custom(event):
            rows = self._custom_rows
        if len(rows) > 1 and (found := rows.get(name_of(event))) is not None:
            return found
        return rows[""]

    def fields(self, event: Event) -> dict[str, Any]:  # Any: JSON
        """The fields of an event that have a value, in the table's order."""
        return self.rows(event).fields(event)

    def nested(self, event: Event) -> dict[str, Any]:  # Any: JSON
        """The same with targets that hold dots as objects in objects: `user.email`."""
        whole: dict[str, Any] = {}
        for target, value in self.fields(event).items():
            *above, last = target.split(".")
            place = whole
            for key in above:
                below = place.get(key)
                if not isinstance(below, dict):
                    below = place[key] = {}
                place = below
            place[last] = value
        return whole

    def has(self, event_type: str, target: str) -> bool:
        """Whether events of the type have the field, by default or by settings."""
        return target in self._trees.get(event_type, {})

    def targets(self, event_type: str) -> frozenset[str]:
        """The fields that events of the type may get."""
        return frozenset(self._trees.get(event_type, {}))

    def own(self, event_type: str) -> frozenset[str]:
        """The fields that settings name for the type, be it to set or to remove them."""
        return self._own.get(event_type, frozenset())

    def reads(self, event_type: str, root: Literal["traits", "properties"]) -> frozenset[str]:
        """The traits or properties, in plain form, that expressions of the type read by a path.

        For who sends all others under their own names. What accessors (`@email`)
        read is not among them, nor what is read in part only: a mapping of
        `traits.address.city` must not cost anybody the rest of the address.
        """
        return reads(self._trees.get(event_type, {}).values(), root)

    def passes_others(self, event: Event) -> bool:
        """Whether properties that no field of the table takes may go along as well.

        A track of the user's own name has them only where `custom_events` is "all".
        """
        return self._is_all or event.type != "track" or not self._is_custom(event)

    def _is_custom(self, event: Event) -> bool:
        return is_custom(event.event or "")


def mapping_errors(mapping: Mapping[str, Expression | Mapping[str, Expression]]) -> list[str]:
    """What is wrong with `settings.mapping`, each opening with its key path."""
    errors = []
    every, of_type = _split(mapping)
    for key, below in mapping.items():
        if isinstance(below, Mapping) and key not in EVENT_TYPES:
            types = ", ".join(sorted(EVENT_TYPES))
            errors.append(f"mapping.{key}: a table is for an event type, of {types}")
    tables = [("mapping", every), *((f"mapping.{kind}", table) for kind, table in of_type.items())]
    for at, table in tables:
        for target, expression in table.items():
            if not target.strip():
                errors.append(f"{at}: the name of a field is empty")
            elif expression is True:
                errors.append(f'{at}.{target}: write "true" for the constant')
            elif not _removes(expression):
                try:
                    parse(_source(expression))
                except MappingError as error:
                    errors.append(f"{at}.{target}: {error}")
    count = len(every) + sum(map(len, of_type.values()))
    if count > MOST_FIELDS:
        errors.append(f"mapping: has {count} fields; at most {MOST_FIELDS} are taken")
    return errors


def _split(
    mapping: Mapping[str, Expression | Mapping[str, Expression]],
) -> tuple[dict[str, Expression], dict[str, dict[str, Expression]]]:
    """What holds for every type, and what for one."""
    every: dict[str, Expression] = {}
    of_type: dict[str, dict[str, Expression]] = {}
    for key, below in mapping.items():
        if isinstance(below, Mapping):
            if key in EVENT_TYPES:
                of_type[key] = dict(below)
        else:
            every[key] = below
    return every, of_type


def _removes(expression: Expression) -> bool:
    return expression is False or (isinstance(expression, str) and not expression.strip())


def _source(expression: Expression) -> str:
    """The expression's text: a number in the settings is a constant."""
    if isinstance(expression, str):
        return expression
    return format(expression, "f") if isinstance(expression, float) else str(expression)
