"""What expressions may call: functions of values, and accessors of the event. Pure.

Every function is total: what it cannot read gives None, no value. None in gives None out. Text that
is made is cut at `MOST_TEXT` characters; JSON text that is longer has no value, since a part of it
is no JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from destinations.kit.event import Event
from destinations.kit.hashing import hashed
from destinations.kit.numbers import amount, whole
from destinations.kit.paths import find
from destinations.kit.times import to_datetime

MOST_TEXT = 65_536

Value = Any  # decoded JSON, or a datetime on its way

_TRUE = frozenset({"true", "yes", "1", "on"})
_FALSE = frozenset({"false", "no", "0", "off"})
_encode = msgspec.json.Encoder().encode


def text_of(value: Value) -> str | None:
    """A value as text: numbers without needless decimals, times as ISO 8601, the rest as JSON."""
    match value:
        case None:
            return None
        case str():
            return value[:MOST_TEXT]
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case datetime():
            return iso_of(value)
        case _:
            return json_of(value)


def json_of(value: Value) -> str | None:
    """A value as JSON text."""
    try:
        text = _encode(value).decode()
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    return text if len(text) <= MOST_TEXT else None


def iso_of(value: Value) -> str | None:
    """A time as ISO 8601 in UTC, with milliseconds."""
    at = _utc(value)
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(value: Value) -> datetime | None:
    at = value if isinstance(value, datetime) else to_datetime(value)
    try:
        return None if at is None else at.astimezone(UTC)
    except OverflowError:
        return None  # in the first or last hours that there are


def _milliseconds(value: Value) -> int | None:
    at = _utc(value)
    return None if at is None else round(at.timestamp() * 1000)


def _seconds(value: Value) -> int | None:
    at = _utc(value)
    return None if at is None else int(at.timestamp() // 1)


def _date(value: Value) -> str | None:
    # The day in the zone that it was sent in: a birthday moves to no other zone.
    at = value if isinstance(value, datetime) else to_datetime(value)
    return None if at is None else at.date().isoformat()


def _boolean(value: Value) -> bool | None:
    if isinstance(value, bool):
        return value
    text = (text_of(value) or "")[:8].strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _trim(value: Value) -> str | None:
    return (text_of(value) or "").strip() or None


def _lower(value: Value) -> str | None:
    text = text_of(value)
    return None if text is None else text.lower()[:MOST_TEXT]


def _upper(value: Value) -> str | None:
    text = text_of(value)
    return None if text is None else text.upper()[:MOST_TEXT]


def _sha256(value: Value) -> str | None:
    text = _trim(value)
    return None if text is None else hashed(text)


def _cut(value: Value, count: Value) -> str | None:
    text, most = text_of(value), whole(count)
    return None if text is None or most is None or most < 0 else text[:most]


def _join(value: Value, between: Value) -> str | None:
    gap = text_of(between)
    if not isinstance(value, list) or gap is None:
        return None
    texts: list[str] = []
    room = MOST_TEXT
    for one in value:
        text = text_of(one)
        if text is not None:
            texts.append(text)
            room -= len(text) + len(gap)
            if room < 0:
                break
    return gap.join(texts)[:MOST_TEXT] or None


def _each(value: Value, path: Value) -> list[Any] | None:
    if not isinstance(value, list) or not isinstance(path, str):
        return None
    return [found for one in value if (found := find(one, path)) is not None] or None


class Function(NamedTuple):
    """A function: how many arguments it takes, what it does, and how that is described."""

    arguments: int
    call: Callable[..., Value]
    says: str


FUNCTIONS: Mapping[str, Function] = {
    "text": Function(1, text_of, "the value as text; objects and lists as JSON"),
    "number": Function(1, amount, 'the number that it is, or that the text is ("1,200" is none)'),
    "integer": Function(1, whole, "the same without what is behind the point"),
    "boolean": Function(1, _boolean, "true for true, yes, on and 1, false for their contraries"),
    "lower": Function(1, _lower, "the text in small letters"),
    "upper": Function(1, _upper, "the text in capitals"),
    "trim": Function(1, _trim, "the text without blanks around it; no value if nothing is left"),
    "cut": Function(2, _cut, "the first characters of the text: `cut(@name, 40)`"),
    "json": Function(1, json_of, "the value as JSON text"),
    "seconds": Function(1, _seconds, "the time in whole seconds since 1970"),
    "milliseconds": Function(1, _milliseconds, "the time in milliseconds since 1970"),
    "iso": Function(1, iso_of, "the time in ISO 8601, UTC: `2026-01-02T03:04:05.678Z`"),
    "date": Function(1, _date, "the day of a time: `2026-01-02`"),
    "sha256": Function(1, _sha256, "the text's SHA-256 in hexadecimal; one that is hashed, as is"),
    "join": Function(2, _join, "the values of a list as one text: `join(traits.tags, ', ')`"),
    "each": Function(2, _each, "a value of each object in a list: `each(@products, 'sku')`"),
}

#: Accessors that are of no use in a mapping: no JSON, or all of the event.
_NO_VALUES = frozenset({"line_items", "companies", "integrations", "fields", "plain_properties"})


def _accessors() -> Mapping[str, Callable[[Event], Value]]:
    found: dict[str, Callable[[Event], Value]] = {}
    for name in dir(Event):
        declared = getattr(Event, name)
        if isinstance(declared, property) and name[0] != "_" and name not in _NO_VALUES:
            assert declared.fget is not None  # all accessors can be read
            found[name] = declared.fget
    found["browser"] = lambda event: event.browser._asdict()
    return found


#: What `@name` gives: the kit's answer to a question that all destinations ask.
ACCESSORS = _accessors()
