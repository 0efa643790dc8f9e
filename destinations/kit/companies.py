"""The companies that a user belongs to, as senders write them. Pure.

| where | form | read as |
| --- | --- | --- |
| trait `company` | an object, `id` text or whole number | that company |
| | text, Segment's oldest form | a company of that name, without an id |
| trait `companies` | a list of such objects and texts | each of them, after `company` |
| a company's `remove` | `true`, 1, or the same as text in any case | the user is to leave it |

A company that has neither id nor name is none. Of two with one id, or one name, the first stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from destinations.kit.lookup import plain_text
from destinations.kit.paths import find

#: Companies of one user that are read.
MOST = 100


class Company(msgspec.Struct, frozen=True):
    """A company of a user's. One of `id` and `name` is there; `fields` is the object as sent."""

    id: str | None
    name: str | None
    fields: Mapping[str, Any]  # Any: decoded JSON
    is_left: bool = False
    """The user is to be taken out of it."""

    @property
    def key(self) -> str:
        """Its id; without one, an id made of its name: equal for equal names in any case."""
        if self.id is not None:
            return self.id
        name = (self.name or "").casefold().encode("utf-8", "surrogatepass")
        return blake2b(name, digest_size=16).hexdigest()


def companies_of(company: object, companies: object) -> list[Company]:
    """The companies of the traits `company` and `companies`, in this order."""
    several = companies if isinstance(companies, list) else [companies]
    found: dict[str, Company] = {}
    for one in _each([company, *several]):
        found.setdefault(one.key, one)
        if len(found) == MOST:
            break
    return list(found.values())


def _each(given: Iterable[object]) -> Iterable[Company]:
    for one in given:
        fields = one if isinstance(one, dict) else {}
        name = _text(find(fields, "name")) if fields else _text(one)
        company_id = _text(find(fields, "id")) or _text(find(fields, "companyId"))
        if company_id or name:
            yield Company(company_id, name, fields, is_left(fields))


def is_left(fields: Mapping[str, Any]) -> bool:  # Any: decoded JSON
    """Whether a company's fields, or a group's traits, say that the user is to leave it."""
    removes = find(fields, "remove")
    return removes in (True, 1) or (isinstance(removes, str) and removes.lower() in ("true", "1"))


def _text(value: object) -> str | None:
    text = plain_text(value)
    return (text.strip() or None) if text else None
