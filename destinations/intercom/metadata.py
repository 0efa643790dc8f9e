"""What of a track's properties becomes the metadata of a data event. Pure, and bounded.

Owns the forms that Intercom has for values, and which properties have room.

https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/data-events/createdataevent
https://www.intercom.com/help/en/articles/175-set-up-event-tracking-in-intercom

| property | metadata |
| --- | --- |
| text, a number | as it is |
| true, false | `"true"`, `"false"`: there is no type for them |
| a time, where the name ends with "date" | seconds since 1970 |
| `revenue` above 0 | an amount of money: `{"amount": 1234, "currency": "eur"}`, in hundredths |
| `{"amount", "currency"}`, `{"url", "value"}` | an amount of money, a rich link |
| another object, a list | each value below it: `quiz.score`, `tags.0`; from level 8 as JSON text |
| null | left out |

Twenty keys have room: those of the mapping, then money and the order, then the others by their
names, those in objects last. So the order of a sender's keys decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from destinations.kit import Event, amount
from destinations.kit.paths import normal, plain_keys
from destinations.kit.times import seconds_of

#: Keys of a data event's metadata; Intercom takes no more.
METADATA_KEYS = 20
#: Levels of objects in objects that get keys of their own.
MOST_LEVELS = 8
#: Keys of metadata that end so are times.
_TIME_SUFFIX = "date"
#: Properties that have room first, in plain form.
_FIRST = frozenset(
    {"revenue", "value", "total", "price", "currency", "orderid", "productid", "sku", "quantity"}
)
#: Largest amount of money that is sent, in its own unit: hundredths of it are exact in any JSON.
_MOST_MONEY = 1e13

_encode = msgspec.json.Encoder().encode
Fields = dict[str, Any]  # Any: JSON


def money(number: float | None, currency: str | None) -> Fields | None:
    """An amount of money: hundredths and a currency. None where it is none, or without currency.

    How currencies without hundredths are meant is not documented: they are sent like all others.
    """
    if currency is None or number is None or not 0 < number < _MOST_MONEY:
        return None
    return {"amount": round(number * 100), "currency": currency.lower()}


def metadata(
    event: Event, mapped: Mapping[str, Any], others: Mapping[str, Any], currency: str | None
) -> Fields:
    """The metadata: what the mapping gives, and then the properties that it does not take.

    `currency` is that of an event that names none; None for none.
    """
    currency = event.currency or currency
    items = [
        (name, (money(amount(value), currency) or value) if name == "price" else value)
        for name, value in mapped.items()
    ]
    items += sorted(
        (
            (name, (money(event.revenue, currency) or value) if _is(name, "revenue") else value)
            for name, value in others.items()
        ),
        key=_rank,
    )
    return _flat(items)


def _is(name: str, plain: str) -> bool:
    return normal(name) == plain


def _rank(item: tuple[str, Any]) -> tuple[bool, str, str]:  # Any: JSON
    plain = normal(item[0])
    return plain not in _FIRST, plain, item[0]


#: Where a value stands: its key, below those of the objects around it.
_Place = tuple[Any, str]  # Any: a type that names itself


def _flat(items: Iterable[tuple[str, Any]]) -> Fields:  # Any: JSON
    """The first values by level, each under the path that leads to it.

    Paths are written out for values that have room only: a long key may have many below it.
    """
    found: Fields = {}
    level: list[tuple[_Place, Any]] = [((None, name), value) for name, value in items]
    for depth in range(MOST_LEVELS):
        below: list[tuple[_Place, Any]] = []
        for place, value in level:
            leaf = _leaf(place[1], value)
            if leaf is None and isinstance(value, (dict, list)):
                if depth + 1 < MOST_LEVELS:
                    below += (((place, key), inner) for key, inner in _below(value))
                    continue
                leaf = _encode(value).decode() if value else None
            if leaf is not None:
                found.setdefault(_path(place), leaf)
                if len(found) == METADATA_KEYS:
                    return found
        level = below
    return found


def _below(value: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:  # Any: JSON
    if isinstance(value, dict):
        return sorted(value.items(), key=_rank)
    return ((str(index), inner) for index, inner in enumerate(value))


def _path(place: _Place) -> str:
    above, path = place
    while above is not None:
        above, key = above
        path = f"{key}.{path}"
    return path


def _leaf(key: str, value: Any) -> Any:  # Any: JSON
    """A value as metadata may have it; None where it is nothing, or made of others."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        if normal(key).endswith(_TIME_SUFFIX):
            at = seconds_of(value)
            return value if at is None else at
        return value
    if isinstance(value, dict) and len(value) == 2:
        return _special(plain_keys(value))
    return None


def _special(value: dict[str, Any]) -> Fields | None:  # Any: JSON
    """A rich link, or an amount of money."""
    match value:
        case {"url": str(), "value": str()}:
            return value
        case {"amount": hundredths, "currency": str(currency)}:
            number = amount(hundredths)
            if number is not None and number.is_integer():
                return {"amount": int(number), "currency": currency.lower()}
            return None
        case _:
            return None
