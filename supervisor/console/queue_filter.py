"""Which queues, in which order, from where: the parameters of `GET /queues`.

Owns the words of `where` and the orders of `sort`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from supervisor.admin.parameters import BadRequest, read_limit
from supervisor.console.paged import SortKey, read_after
from supervisor.telemetry.status import QueueState, QueueStatus

#: Most queues of one page, and how many where the request does not say.
MOST_QUEUES, DEFAULT_QUEUES = 500, 100
#: Most terms of a `where`.
MOST_TERMS = 20

Test = Callable[[QueueStatus], bool]

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

    def matches(self, queue: QueueStatus) -> bool:
        """Whether it is one of those that were asked for."""
        return all(test(queue) for test in self.tests)

    def key_of(self, queue: QueueStatus) -> SortKey:
        """Its place in the order that was asked for."""
        return _KEYS[self.sort](queue)


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
        None if after is None else read_after(after),
    )


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
