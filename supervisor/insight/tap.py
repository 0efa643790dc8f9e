"""A sample of what comes in, and of what is not taken, by source: for people who look at it live.

Owns two rings for each source, since what goes wrong must not be pushed out by what goes well, the
rate at which rows come into them, and their bytes: all of them together are at most `budget_bytes`.
How much was seen and how much is kept is told. It is always on, so it costs next to nothing by
request and nothing by event. Must not read an event: a row holds the bytes that are stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from sys import getsizeof
from typing import Final, Literal

import msgspec

from supervisor.insight.trends import SourceCounts
from supervisor.queue import NewEvent, Route

#: Rows that one ring of a source takes in a tenth of a second.
MOST_AT_ONCE: Final = 5
#: Rows that one ring keeps.
MOST_ROWS: Final = 200
#: Bytes of what was not taken that a row keeps: it need not be an event, nor end.
MOST_REJECTED_BYTES: Final = 32 * 1024
#: Characters of a refusal's reason that a row keeps.
MOST_REASON: Final = 500
#: Bytes that a row is reckoned at beside what it holds, and a source with its two rings.
ROW_BYTES: Final = 320
SOURCE_BYTES: Final = 2048
#: Bytes that a source may have at least: those that were quiet longest lose theirs.
LEAST_BYTES: Final = 8 * 1024

Ring = Literal["taken", "rejected"]
_NO_ROUTE: Final = Route()


class TapRow(msgspec.Struct, frozen=True, gc=False):
    """One event, or a body that holds none.

    `n` goes up by one with each row, over all sources; `at` is epoch seconds. `body` is None where
    there was none or no room for it; `size_bytes` is what it had. `code` and `reason` are of the
    answer that the sender got, "" where it was taken.
    """

    n: int
    at: float
    outcome: Literal["taken", "repeat", "rejected"]
    body: bytes | None
    size_bytes: int
    message_id: str = ""
    type: str = ""
    route: Route = _NO_ROUTE
    code: str = ""
    reason: str = ""


class TapPage(msgspec.Struct, frozen=True):
    """Rows of one ring in the order in which they came; `next` is what to ask for from then on.

    Of all that was `seen` since the start `sampled` became rows, of which `kept` are there still.
    """

    source: str
    seen: int
    kept: int
    rejected_seen: int
    rejected_kept: int
    next: int
    rows: Sequence[TapRow]
    sampled: int = 0
    rejected_sampled: int = 0
    is_lossy: bool = False
    """Whether rows that came after what was asked for are not here."""


class _Ring:
    """Newest last. `tenth` is the tenth of a second that `left` rows may still come in."""

    __slots__ = ("dropped", "left", "rows", "size_bytes", "tenth")

    def __init__(self) -> None:
        self.rows: deque[tuple[int, TapRow]] = deque()
        self.size_bytes = 0
        self.tenth = 0
        #: the number of the newest row that has made room
        self.dropped = 0
        self.left = MOST_AT_ONCE

    def drop_oldest(self) -> None:
        size, row = self.rows.popleft()
        self.size_bytes -= size
        self.dropped = row.n


class _Source:
    __slots__ = ("intake", "rejected_sampled", "rings", "sampled")

    def __init__(self) -> None:
        self.intake = SourceCounts()
        self.sampled = self.rejected_sampled = 0
        self.rings: tuple[_Ring, _Ring] | None = None


class Tap:
    """That of one service. For the event loop's thread. Times are epoch seconds."""

    def __init__(self, budget_bytes: int, started: float) -> None:
        self._budget_bytes = budget_bytes
        self._sources: dict[str, _Source] = {}
        #: Those that have rings, the one that was quiet longest first.
        self._with_rings: dict[str, _Source] = {}
        # From one start to the next it only goes up, so that who follows sees what is new.
        self._n = int(started * 1000)

    # --- intake ---

    def took(
        self,
        source: str,
        events: Sequence[NewEvent],
        accepted: Sequence[bool],
        repeats: int,
        at: float,
    ) -> None:
        """Events of one request are on disk; `repeats` of them were not `accepted`."""
        found = self._sources.get(source)
        if found is None:
            found = self._sources[source] = _Source()
        intake = found.intake
        intake.received += len(events)
        if repeats:
            intake.repeats += repeats
        ring = (found.rings or self._rings_of(source, found))[0]
        tenth = int(at * 10.0)
        if ring.tenth != tenth:
            ring.tenth, ring.left = tenth, MOST_AT_ONCE
        elif not ring.left:
            return
        self._keep_taken(source, found, events, accepted, at)

    def _keep_taken(
        self,
        source: str,
        found: _Source,
        events: Sequence[NewEvent],
        accepted: Sequence[bool],
        at: float,
    ) -> None:
        """The last of them, as many as may still come."""
        ring = self._rings_of(source, found)[0]
        first = max(0, len(events) - ring.left)
        ring.left -= len(events) - first
        for index in range(first, len(events)):
            event = events[index]
            outcome: Literal["taken", "repeat"] = "taken" if accepted[index] else "repeat"
            found.sampled += self._add(
                ring,
                TapRow(
                    self._next(),
                    at,
                    outcome,
                    event.body,
                    len(event.body),
                    event.message_id,
                    event.type,
                    event.route,
                ),
            )

    def rejected(
        self,
        source: str,
        rejected: Sequence[tuple[str, str, msgspec.Raw | bytes]],
        n: int,
        at: float,
    ) -> None:
        """`n` events of a request were not taken; the last of them as code, reason and text."""
        found = self._sources.get(source)
        if found is None:
            found = self._sources[source] = _Source()
        found.intake.rejected += n
        ring = self._rings_of(source, found)[1]
        tenth = int(at * 10.0)
        if ring.tenth != tenth:
            ring.tenth, ring.left = tenth, MOST_AT_ONCE
        for code, reason, text in rejected[max(0, len(rejected) - ring.left) :]:
            ring.left -= 1
            # A copy: the row must not keep alive the whole request that this is a part of.
            view = memoryview(text)
            size = view.nbytes
            body = bytes(view) if 0 < size <= MOST_REJECTED_BYTES else None
            found.rejected_sampled += self._add(
                ring,
                TapRow(
                    self._next(),
                    at,
                    "rejected",
                    body,
                    size,
                    code=code,
                    reason=reason[:MOST_REASON],
                ),
            )

    def _next(self) -> int:
        self._n += 1
        return self._n

    # --- room ---

    def _rings_of(self, source: str, found: _Source) -> tuple[_Ring, _Ring]:
        """Those of a source, which is the one that was last heard of now."""
        if found.rings is None:
            found.rings = _Ring(), _Ring()
            self._with_rings[source] = found
            self._make_room()
        elif len(self._with_rings) > 1:
            del self._with_rings[source]
            self._with_rings[source] = found
        return found.rings

    @property
    def _limit_bytes(self) -> int:
        """What one ring may have: an equal share for a power of two of sources.

        So it changes seldom as sources come, each time for all.
        """
        sources = 1 << (len(self._with_rings) - 1).bit_length() if self._with_rings else 1
        return max(0, self._budget_bytes // sources - SOURCE_BYTES) // 2

    def _make_room(self) -> None:
        """One more source has rings: another loses its own, or all get less, as there is need."""
        sources = self._with_rings
        while len(sources) > 1 and len(sources) * LEAST_BYTES > self._budget_bytes:
            sources.pop(next(iter(sources))).rings = None
        others = len(sources) - 1
        if others and not others & (others - 1):
            limit = self._limit_bytes
            for found in sources.values():
                for ring in found.rings or ():
                    _shrink(ring, limit)

    def _add(self, ring: _Ring, row: TapRow) -> bool:
        """Keep a row; whether there is room for it."""
        limit = self._limit_bytes
        size = _size_of(row)
        if size > limit and row.body is not None:
            row = msgspec.structs.replace(row, body=None)
            size = _size_of(row)
        if size > limit:
            return False
        ring.rows.append((size, row))
        ring.size_bytes += size
        if len(ring.rows) > MOST_ROWS:
            ring.drop_oldest()
        _shrink(ring, limit)
        return True

    def follow(self, sources: set[str], budget_bytes: int) -> None:
        """A reload: forget all others."""
        self._budget_bytes = budget_bytes
        for name in self._sources.keys() - sources:
            del self._sources[name]
            self._with_rings.pop(name, None)
        limit = self._limit_bytes
        for found in self._with_rings.values():
            for ring in found.rings or ():
                _shrink(ring, limit)

    # --- looking ---

    def intake(self) -> Mapping[str, SourceCounts]:
        """What each source has sent since the start. As it is now: it goes on changing."""
        return {name: found.intake for name, found in self._sources.items()}

    def intake_of(self, source: str) -> SourceCounts:
        """The same of one."""
        found = self._sources.get(source)
        return SourceCounts() if found is None else found.intake

    @property
    def size_bytes(self) -> int:
        """Of all rows and rings, as they are reckoned: at most the budget."""
        return sum(
            SOURCE_BYTES + sum(ring.size_bytes for ring in found.rings or ())
            for found in self._with_rings.values()
        )

    def page(self, source: str, ring: Ring, after: int | None, limit: int) -> TapPage:
        """The newest `limit` rows of a ring that came after that one; all are newer than a row of
        another run.
        """
        found = self._sources.get(source) or _Source()
        taken, rejected = found.rings or (_Ring(), _Ring())
        wanted = taken if ring == "taken" else rejected
        rows = list[TapRow]()
        for _, row in reversed(wanted.rows):
            if len(rows) == limit or (after is not None and row.n <= after):
                break
            rows.append(row)
        is_cut = len(rows) == limit < len(wanted.rows) and wanted.rows[-limit - 1][1].n > (
            after or 0
        )
        rows.reverse()
        newest = wanted.rows[-1][1].n if wanted.rows else self._n
        return TapPage(
            source=source,
            seen=found.intake.received,
            kept=len(taken.rows),
            rejected_seen=found.intake.rejected,
            rejected_kept=len(rejected.rows),
            next=newest,
            rows=rows,
            sampled=found.sampled,
            rejected_sampled=found.rejected_sampled,
            is_lossy=after is not None and (wanted.dropped > after or is_cut),
        )

    def since(self, n: int) -> Iterator[tuple[str, TapRow]]:
        """Events that were taken after row `n`, for those who look at what a source sends."""
        for name, found in list(self._with_rings.items()):
            if found.rings is None or not found.rings[0].rows:
                continue
            new = list[TapRow]()
            for _, row in reversed(found.rings[0].rows):
                if row.n <= n:
                    break
                new.append(row)
            yield from ((name, row) for row in reversed(new))

    @property
    def newest(self) -> int:
        """The number of the last row."""
        return self._n


def _shrink(ring: _Ring, limit_bytes: int) -> None:
    while ring.size_bytes > limit_bytes:
        ring.drop_oldest()


def _size_of(row: TapRow) -> int:
    """What it keeps alive: routes are shared by all events that go the same way."""
    return ROW_BYTES + sum(
        getsizeof(part) for part in (row.body, row.message_id, row.type, row.reason) if part
    )
