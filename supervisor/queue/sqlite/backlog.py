"""What is pending, as the event loop's thread knows it: counters and bounded windows.

Owns the in-memory side of chunks, connections, retries and leases. The disk
has everything; memory has counters, for each connection a window of the oldest
chunks and of the next retries, and the deliveries that are leased. It never
holds an object for each pending event. Must not do I/O or know SQL.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, nsmallest
from operator import attrgetter

from supervisor.core.ordering import UserOrder
from supervisor.queue import Books, ConnectionSpec, Delivery
from supervisor.queue.sqlite.schema import COUNTERS, LETTER_BYTES, PENDING, PENDING_BYTES

#: Chunks that a connection's window holds, and the fewest when memory is tight.
WINDOW, TIGHT_WINDOW = 1024, 2
#: Shares of the chunks in memory, past which windows are tight. What a chunk costs is its shares,
#: one for each connection of its source: about 25 MB.
LOADED = 65_536
#: Retries that a connection's window holds, and how few when memory is tight.
RETRY_WINDOW, TIGHT_RETRY_WINDOW = 1024, 32
#: Retries in memory, for all connections, past which windows are tight.
LOADED_RETRIES = 131_072


@dataclass(slots=True, eq=False)
class Chunk:
    """A chunk in memory. `deliveries` are there while the payload cache holds them.

    `open` counts connections that have not finished it, `holders` those that
    have it in their window or on lease, `unwritten` those whose progress is
    not on disk yet.
    """

    id: int
    count: int
    received: float
    size: int
    shares: dict[int, Share] = field(default_factory=dict)
    open: int = 0
    holders: int = 0
    unwritten: int = 0
    deliveries: list[Delivery] | None = None


@dataclass(slots=True, eq=False)
class Share:
    """One connection's part of a chunk, in masks of events.

    `todo` is fresh and not leased, `left` all that is not settled; `unsupported`
    and `moved` (to retries or dead letters) are what did not end as delivered.
    """

    chunk: Chunk
    connection: int
    route: int
    left: int
    todo: int
    unsupported: int = 0
    moved: int = 0
    is_held: bool = False
    is_listed: bool = False


_chunk_id_of = attrgetter("chunk.id")

#: A retry in memory: when, id, whether it goes alone, when the event was received.
Due = tuple[float, int, bool, float]


@dataclass(slots=True)
class RetryRow:
    """A retry that may not be on disk yet; `error` is why the last attempt failed."""

    id: int
    connection: int
    next_at: float
    alone: bool
    attempts: int
    first_at: float | None
    delivery: Delivery


@dataclass(slots=True, eq=False)
class Lane:
    """One connection: what it has to do, and what was counted.

    `spec` is None for a connection that is not in the config. `books` is as of
    the newest commit, all else as of now. `cursor` and `newest` are chunk ids:
    up to the first the log has been looked through, up to the second it has
    something for this connection. `order` is there where users' events keep
    theirs; `aside` counts what waits on disk behind others.
    """

    id: int
    name: str
    source: int
    spec: ConnectionSpec | None
    books: list[int] = field(default_factory=lambda: [0] * len(COUNTERS))
    fresh: int = 0
    retrying: int = 0
    leased: int = 0
    window: list[Share] = field(default_factory=list)
    cursor: int = 0
    newest: int = 0
    due: list[Due] = field(default_factory=list)
    horizon: tuple[float, int] | None = None
    recent: dict[int, Due] = field(default_factory=dict)
    leased_retries: set[int] = field(default_factory=set)
    leases: dict[int, float] = field(default_factory=dict)
    aside: int = 0
    order: UserOrder | None = None
    is_locked: bool = False
    epoch: int = 0
    oldest: float | None = None
    looked_at: float = float("-inf")
    alarm_at: float = float("inf")

    @property
    def is_behind(self) -> bool:
        """The log has chunks for this connection that are not in its window."""
        return self.cursor < self.newest

    def oldest_at(self, now: float) -> float | None:
        """When the oldest of what is in memory was received; a second late at most."""
        if not self.fresh and not self.retrying and not self.leases and not self.aside:
            return None
        if not self.looked_at <= now < self.looked_at + 1.0:
            self.looked_at = now
            times = [self.window[0].chunk.received] if self.window else []
            times += [entry[3] for entry in self.due]
            times += self.leases.values()
            self.oldest = min(times, default=self.oldest)
        return self.oldest

    @property
    def pending_bytes(self) -> int:
        """Payload bytes that are pending, as of the newest commit."""
        return self.books[PENDING_BYTES]

    @property
    def letter_bytes(self) -> int:
        """Bytes of dead letters, as of the newest commit."""
        return self.books[LETTER_BYTES]

    # --- fresh ---

    def take_in(self, share: Share) -> None:
        """A share comes into the window."""
        if not share.is_held:
            share.is_held = True
            share.chunk.holders += 1
        self.put_back(share)

    def put_back(self, share: Share) -> None:
        """A share has something to do (again)."""
        if not share.is_listed and share.todo:
            share.is_listed = True
            if self.window and self.window[-1].chunk.id > share.chunk.id:
                insort(self.window, share, key=_chunk_id_of)
            else:
                self.window.append(share)

    def unlist(self, share: Share) -> None:
        """Nothing of a share is left to lease."""
        if share.is_listed:
            share.is_listed = False
            if self.window[0] is share:
                del self.window[0]
            else:
                self.window.remove(share)

    def ahead_of(self, chunk: int, index: int) -> int | None:
        """How many fresh ones go before event `index` of a chunk; None past the window."""
        n = 0
        for share in self.window:
            if share.chunk.id >= chunk:
                before = share.todo & ((1 << index) - 1)
                return n + before.bit_count() if share.chunk.id == chunk else None
            n += share.todo.bit_count()
        return None

    # --- retries ---

    def plan(self, entry: Due, window: int) -> int:
        """A delivery waits for its next attempt; by how much memory has grown.

        What is due later than all that memory has room for stays on disk
        (`recent` until no look at the disk can miss it).
        """
        before = len(self.due)
        if self.horizon is not None and entry[:2] > self.horizon:
            self.recent[entry[1]] = entry
            return 0
        heappush(self.due, entry)
        if len(self.due) > 2 * window:
            kept = nsmallest(window, self.due)
            for late in set(self.due).difference(kept):
                self.recent[late[1]] = late
            self.due = kept  # sorted, and so a heap
            self.horizon = kept[-1][:2]
        return len(self.due) - before

    def next_retry_at(self) -> float | None:
        """When the next retry falls due; the horizon's time where memory has run out of them."""
        if self.due:
            return self.due[0][0]
        if not self.retrying:
            return None
        return self.horizon[0] if self.horizon is not None else 0.0

    @property
    def has_unseen_retries(self) -> bool:
        """Memory has run out of retries, and the disk has more."""
        return not self.due and self.retrying > 0 and self.horizon is not None

    def take_due(self, now: float, most: int) -> list[Due]:
        """Retries whose time has come, off the heap; one that goes alone comes alone."""
        taken: list[Due] = []
        alone: list[Due] = []
        while self.due and self.due[0][0] <= now and len(taken) < most:
            entry = heappop(self.due)
            if not entry[2]:
                taken.append(entry)
            elif not taken and not alone:
                return [entry]
            else:
                alone.append(entry)
        for entry in alone:
            heappush(self.due, entry)
        return taken


@dataclass(slots=True)
class Segment:
    """Part of a lease: `positions[i]` of the share's chunk is delivery `base + i`."""

    base: int
    share: Share
    positions: Sequence[int]
    mask: int


@dataclass(slots=True, eq=False)
class Held:
    """A lease, as the queue knows it. Fresh ones have segments, retries have entries.

    `undecided` has one byte a delivery, 1 until its verdict.
    """

    id: int
    lane: Lane
    leased_at: float
    expires_at: float
    deliveries: Sequence[Delivery]
    undecided: bytearray
    size_bytes: int
    segments: list[Segment] = field(default_factory=list)
    entries: list[Due] = field(default_factory=list)

    def segment_of(self, index: int) -> Segment:
        """The part of a fresh lease that delivery `index` is in."""
        segments = self.segments
        low, high = 0, len(segments)
        while high - low > 1:
            middle = (low + high) // 2
            if segments[middle].base <= index:
                low = middle
            else:
                high = middle
        return segments[low]

    def open_indices(self) -> Iterator[int]:
        """Deliveries without a verdict."""
        at = self.undecided.find(1)
        while at >= 0:
            yield at
            at = self.undecided.find(1, at + 1)


def books_of(counted: Sequence[int]) -> Books:
    """Counters as what users see."""
    return Books(*counted[: PENDING + 1])


assert COUNTERS[: PENDING + 1] == Books.__struct_fields__
