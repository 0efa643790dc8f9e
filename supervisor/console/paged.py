"""A page of very many things, in an order: gone through in steps, and never sorted as a whole.

Owns how a page is found and where the next one begins. What the things are, and what orders them,
is each caller's. Pure but for those steps.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from supervisor.admin.parameters import BadRequest
from supervisor.telemetry.steps import in_steps

Item = TypeVar("Item")

#: What orders things: numbers, and at last the name, so that no two are equal.
SortKey = tuple[float, float, str]


class SortedPage(NamedTuple, Generic[Item]):
    """A page of `total` things, of which `matched` were asked for; `next` is None on the last."""

    rows: list[Item]
    total: int
    matched: int
    next: str | None


async def page_of(
    items: Sequence[Item],
    *,
    matches: Callable[[Item], bool],
    key_of: Callable[[Item], SortKey],
    limit: int,
    after: SortKey | None,
) -> SortedPage[Item]:
    """The first `limit` of those that match and come behind `after`."""
    first: list[tuple[SortKey, Item]] = []
    matched = 0
    async for some in in_steps(items):
        found = [item for item in some if matches(item)]
        matched += len(found)
        keyed = [(key_of(item), item) for item in found]
        if after is not None:
            keyed = [one for one in keyed if one[0] > after]
        if keyed:
            # One more than asked for tells whether there is a next page.
            first = heapq.nsmallest(limit + 1, [*first, *keyed], key=lambda one: one[0])
    shown = first[:limit]
    following = msgspec.json.encode(shown[-1][0]).decode() if len(first) > limit else None
    return SortedPage([item for _, item in shown], len(items), matched, following)


def read_after(text: str) -> SortKey:
    """The `next` of another page. Raises BadRequest."""
    try:
        key: SortKey = msgspec.json.decode(text, type=SortKey)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"after: {text[:100]!r} is no `next` of another page") from error
    return key
