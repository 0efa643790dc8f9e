"""The next retries of a connection: as many in memory as there is room for, the rest on disk.

Owns the heap, the horizon past which the disk has to be looked at, and the count of all retries in
memory. Must not do I/O, or count what is leased.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from heapq import heappop, heappush, nsmallest

#: Retries that a connection's heap holds, and how few when memory is tight.
RETRY_WINDOW, TIGHT_RETRY_WINDOW = 1024, 32
#: Retries in memory, for all connections, past which windows are tight.
LOADED_RETRIES = 131_072

#: A retry in memory: when it is due, its id, whether it goes alone, when the event was received.
RetryEntry = tuple[float, int, bool, float]


class RetryBudget:
    """How many retries all heaps hold, which only the heaps change."""

    __slots__ = ("_loaded",)

    def __init__(self) -> None:
        self._loaded = 0

    @property
    def loaded(self) -> int:
        """Retries in the heaps of all connections."""
        return self._loaded

    @property
    def window(self) -> int:
        """How many a connection may have loaded now."""
        return RETRY_WINDOW if self._loaded < LOADED_RETRIES else TIGHT_RETRY_WINDOW


class RetryHeap:
    """Retries of one connection by time.

    What is due later than all that memory has room for stays on disk, past the *horizon* (time and
    id, None where memory has all of them). Those beyond it are kept in `_beyond` for as long as a
    look at the disk could miss them.
    """

    __slots__ = ("_beyond", "_budget", "_heap", "_horizon")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._heap: list[RetryEntry] = []
        self._horizon: tuple[float, int] | None = None
        self._beyond: dict[int, RetryEntry] = {}

    @property
    def horizon(self) -> tuple[float, int] | None:
        """Time and id of the last retry that memory may know; None where it knows all."""
        return self._horizon

    @property
    def is_empty(self) -> bool:
        """Memory knows of no retry up to the horizon."""
        return not self._heap

    @property
    def loaded(self) -> int:
        """Retries in memory, those beyond the horizon included."""
        return len(self._heap) + len(self._beyond)

    @property
    def ids(self) -> set[int]:
        """Row ids of those in memory."""
        return {entry[1] for entry in self._heap} | self._beyond.keys()

    @property
    def first_due_at(self) -> float | None:
        """When the first one is due, or the horizon's time where memory has run out of them."""
        if self._heap:
            return self._heap[0][0]
        return None if self._horizon is None else self._horizon[0]

    def received_times(self) -> Iterator[float]:
        """When the events of those up to the horizon were received."""
        return (entry[3] for entry in self._heap)

    def plan(self, entry: RetryEntry) -> bool:
        """A delivery waits for its next attempt.

        True where so many lie beyond the horizon that it is time to `forget_beyond` it.
        """
        if self._horizon is not None and entry[:2] > self._horizon:
            self._beyond[entry[1]] = entry
            return not len(self._beyond) % RETRY_WINDOW
        heap = self._heap
        heappush(heap, entry)
        self._budget._loaded += 1
        window = self._budget.window
        if len(heap) > 2 * window:
            kept = nsmallest(window, heap)
            for late in set(heap).difference(kept):
                self._beyond[late[1]] = late
            self._budget._loaded -= len(heap) - window
            self._heap = kept  # sorted, and so a heap
            self._horizon = kept[-1][:2]
        return False

    def take_due(self, now: float, most: int) -> list[RetryEntry]:
        """Retries whose time has come, off the heap; one that goes alone comes alone."""
        taken: list[RetryEntry] = []
        alone: list[RetryEntry] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(taken) < most:
            entry = heappop(heap)
            if not entry[2]:
                taken.append(entry)
            elif not taken and not alone:
                taken = [entry]
                break
            else:
                alone.append(entry)
        for entry in alone:
            heappush(heap, entry)
        self._budget._loaded -= len(taken)
        return taken

    def put_back(self, entry: RetryEntry) -> None:
        """One that was taken is due still."""
        heappush(self._heap, entry)
        self._budget._loaded += 1

    def drop(self, ids: Collection[int]) -> None:
        """These are no retries any more."""
        kept = [entry for entry in self._heap if entry[1] not in ids]
        self._budget._loaded -= len(self._heap) - len(kept)
        self._heap = sorted(kept)
        for row_id in ids:
            self._beyond.pop(row_id, None)

    def refill(
        self, rows: Sequence[RetryEntry], *, is_all: bool, elsewhere: Container[int]
    ) -> None:
        """The disk's next retries, soonest first; `is_all`: there are no others.

        `elsewhere` are ids of those that are leased, or ended while the disk was read.
        """
        known = {entry[1] for entry in self._heap}
        beyond, self._beyond = self._beyond, {}
        self._horizon = None if is_all else rows[-1][:2]
        for entry in (*(row for row in rows if row[1] not in beyond), *beyond.values()):
            if entry[1] not in known and entry[1] not in elsewhere:
                self.plan(entry)

    def forget_all(self) -> None:
        """The disk knows better which come next."""
        self._budget._loaded -= len(self._heap)
        self._heap, self._beyond, self._horizon = [], {}, (0.0, 0)

    def forget_beyond(self, unwritten: Container[int]) -> None:
        """Retries beyond the horizon are found by a look at the disk, but those it has not yet."""
        self._beyond = {
            row_id: entry for row_id, entry in self._beyond.items() if row_id in unwritten
        }
