"""Which queues, in which order, from where: the parameters of `GET /queues`, and the page of them.

Owns the words of `where`, the orders of `sort` and the form of `after`. Ten thousand queues are
gone through in steps, and never sorted as a whole. Pure but for those steps.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from supervisor.admin.parameters import BadRequest, read_limit
from supervisor.telemetry.status import QueueState, QueueStatus
from supervisor.telemetry.steps import in_steps

#: Most queues of one page, and how many where the request does not say.
MOST_QUEUES, DEFAULT_QUEUES = 500, 100
#: Most terms of a `where`.
MOST_TERMS = 20

Test = Callable[[QueueStatus], bool]
#: What orders queues: numbers, and at last the name.
SortKey = tuple[float, float, str]

_WORST = (
    *(QueueState.TRIPPED, QueueState.BACKING_OFF, QueueState.PAUSED, QueueState.THROTTLED),
    *(QueueState.DISABLED, QueueState.OPEN),
)
_RANK = {state: float(rank) for rank, state in enumerate(_WORST)}

_KEYS: dict[str, Callable[[QueueStatus], SortKey]] = {
    "worst": lambda q: (
        0.0 if q.credentials_refused else _RANK[q.state],
        -(q.oldest_s or 0.0),
        q.connection,
    ),
    "name": lambda q: (0.0, 0.0, q.connection),
    "-depth": lambda q: (-float(q.depth), 0.0, q.connection),
    "-oldest": lambda q: (-(q.oldest_s or 0.0), 0.0, q.connection),
    "-inflight": lambda q: (-float(q.inflight), 0.0, q.connection),
}


class QueueQuery(NamedTuple):
    """What was asked for. `after` is the key of the last queue of the page before."""

    tests: tuple[Test, ...]
    sort: str
    limit: int
    after: SortKey | None


class QueuePage(NamedTuple):
    """A page. `next` is None on the last one."""

    queues: list[QueueStatus]
    total: int
    matched: int
    next: str | None


def read_query(
    where: str | None, sort: str | None, limit: str | None, after: str | None
) -> QueueQuery:
    """Raises BadRequest."""
    if sort is not None and sort not in _KEYS:
        raise BadRequest(f"sort: {sort[:100]!r} is none of {', '.join(_KEYS)}")
    return QueueQuery(
        _tests(where or ""),
        sort or "worst",
        read_limit(limit, default=DEFAULT_QUEUES, most=MOST_QUEUES),
        None if after is None else _read_after(after),
    )


async def page_of(queues: Sequence[QueueStatus], query: QueueQuery) -> QueuePage:
    """The page that a query asks for, of these queues."""
    key_of = _KEYS[query.sort]
    first: list[tuple[SortKey, QueueStatus]] = []
    matched = 0
    async for some in in_steps(queues):
        found = [queue for queue in some if all(test(queue) for test in query.tests)]
        matched += len(found)
        keyed = [(key_of(queue), queue) for queue in found]
        if query.after is not None:
            keyed = [one for one in keyed if one[0] > query.after]
        if keyed:
            # One more than asked for tells whether there is a next page. No two keys are equal.
            first = heapq.nsmallest(query.limit + 1, [*first, *keyed], key=lambda one: one[0])
    shown = first[: query.limit]
    is_more = len(first) > query.limit
    following = msgspec.json.encode(shown[-1][0]).decode() if is_more else None
    return QueuePage([queue for _, queue in shown], len(queues), matched, following)


def _read_after(text: str) -> SortKey:
    try:
        key: SortKey = msgspec.json.decode(text, type=SortKey)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"after: {text[:100]!r} is no `next` of another page") from error
    return key


def _tests(where: str) -> tuple[Test, ...]:
    terms = where.split()
    if len(terms) > MOST_TERMS:
        raise BadRequest(f"where: {len(terms)} terms are too many; give at most {MOST_TERMS}")
    return tuple(map(_test, terms))


def _test(term: str) -> Test:
    name, colon, value = term.partition(":")
    if not colon:
        text = term.lower()
        return lambda q: (
            text in q.connection.lower()
            or text in q.source.lower()
            or text in q.destination.lower()
        )
    match name:
        case "state":
            if value not in list(QueueState):
                raise BadRequest(f"where: state:{value[:100]} is none of {', '.join(QueueState)}")
            return lambda q: q.state == value
        case "pool":
            return lambda q: q.pool == value
        case "source":
            return lambda q: q.source == value
        case "destination":
            return lambda q: q.destination == value
        case "leak":
            if value not in ("yes", "no"):
                raise BadRequest("where: leak:yes or leak:no")
            return lambda q: _leaks(q) is (value == "yes")
        case _:
            raise BadRequest(
                f"where: {name[:100]!r} is none of state, pool, source, destination, leak; "
                "a term without a colon is sought in names"
            )


def _leaks(queue: QueueStatus) -> bool:
    return (
        queue.leak_bytes_per_event is not None or queue.leaks_together_bytes_per_event is not None
    )
