"""Chunks of the log in memory, and how far each connection is with them.

Owns `Chunk`, `ChunkProgress` and `LogWindow`: the masks of events, the counts of a chunk that
follow from them, and the order in which a connection's chunks are leased. They change by the verbs
here and by nothing else. Must not do I/O, or know leases, retries or what becomes of a delivery.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence

from supervisor.queue import Delivery


class Chunk:
    """A chunk in memory. `deliveries` are there while the payload cache holds them.

    Three counts say who still needs it: connections that have not finished it, connections that
    have it in their window or on lease (pins), and records of progress that no commit has written.
    """

    __slots__ = (
        "_deliveries",
        "_pins",
        "_progress",
        "_size",
        "_unfinished_connections",
        "_unwritten",
        "count",
        "id",
        "received",
    )

    def __init__(self, number: int, count: int, received: float, size: int) -> None:
        self.id = number
        self.count = count
        self.received = received
        self._size = size
        self._progress: dict[int, ChunkProgress] = {}
        self._unfinished_connections = 0
        self._pins = 0
        self._unwritten = 0
        self._deliveries: list[Delivery] | None = None

    def add(
        self, connection: int, route: int, *, done: int = 0, unsupported: int = 0, moved: int = 0
    ) -> ChunkProgress:
        """A connection's part: the mask of its events, and what it has done of them."""
        progress = ChunkProgress(self, connection, route, route & ~done, unsupported, moved)
        self._progress[connection] = progress
        if progress.unsettled:
            self._unfinished_connections += 1
        return progress

    @property
    def progress(self) -> Mapping[int, ChunkProgress]:
        """By connection."""
        return self._progress

    @property
    def size(self) -> int:
        """Bytes that it takes on disk."""
        return self._size

    @property
    def deliveries(self) -> list[Delivery] | None:
        """Its events as first attempts, where their payload is in memory."""
        return self._deliveries

    @property
    def is_finished(self) -> bool:
        """Every connection has settled all of it."""
        return not self._unfinished_connections

    @property
    def is_pinned(self) -> bool:
        """A connection has it in its window or on lease."""
        return self._pins > 0

    @property
    def is_idle(self) -> bool:
        """Memory may forget it: the disk knows all of it, and no connection is at work on it."""
        return not self._pins and not self._unwritten

    def resize(self, size: int) -> None:
        """Compaction has made it smaller on disk."""
        self._size = size

    def cache(self, deliveries: list[Delivery]) -> None:
        """Its payload is in memory."""
        self._deliveries = deliveries

    def uncache(self) -> None:
        """Its payload is only on disk."""
        self._deliveries = None

    def progress_noted(self) -> None:
        """A journal has taken progress on it."""
        self._unwritten += 1

    def progress_written(self) -> None:
        """That progress is on disk, or need not go there."""
        self._unwritten -= 1

    def check(self) -> None:
        """Assert that the counts follow from the progress of the connections."""
        parts = self._progress.values()
        assert self._unfinished_connections == sum(bool(one.unsettled) for one in parts)
        assert self._pins == sum(one.is_pinned for one in parts)
        assert self._unwritten >= 0
        for one in parts:
            assert one.unsettled & ~one.route == 0, "only what was routed can be unsettled"
            assert one.unleased & ~one.unsettled == 0, "what is settled cannot be leased"
            assert one.moved & one.unsettled == 0, "what has moved is settled here"
            assert one.is_pinned or not one.is_listed, "a window pins what it lists"


class ChunkProgress:
    """One connection's part of a chunk, in masks of events.

    `unleased` is fresh and not leased, `unsettled` that and what is leased; `unsupported` and
    `moved` (to retries or dead letters) are what did not end as delivered.
    """

    __slots__ = (
        "_is_listed",
        "_is_pinned",
        "_moved",
        "_unleased",
        "_unsettled",
        "_unsupported",
        "chunk",
        "connection",
        "route",
    )

    def __init__(
        self,
        chunk: Chunk,
        connection: int,
        route: int,
        unsettled: int,
        unsupported: int,
        moved: int,
    ) -> None:
        self.chunk = chunk
        self.connection = connection
        self.route = route
        self._unsettled = unsettled
        self._unleased = unsettled
        self._unsupported = unsupported
        self._moved = moved
        self._is_pinned = False
        self._is_listed = False

    @property
    def unsettled(self) -> int:
        """Events that this connection is not done with."""
        return self._unsettled

    @property
    def unleased(self) -> int:
        """Those of them that can be leased."""
        return self._unleased

    @property
    def leased(self) -> int:
        """Those of them that are leased."""
        return self._unsettled & ~self._unleased

    @property
    def unsupported(self) -> int:
        """Events that the destination has no use for."""
        return self._unsupported

    @property
    def moved(self) -> int:
        """Events that are retries or dead letters now, or ended as such."""
        return self._moved

    @property
    def is_pinned(self) -> bool:
        """It keeps its chunk in memory."""
        return self._is_pinned

    @property
    def is_listed(self) -> bool:
        """It is in its connection's window."""
        return self._is_listed

    def lease(self, mask: int) -> None:
        """These events are leased."""
        self._unleased &= ~mask

    def give_back(self, mask: int) -> None:
        """These events are not leased any more, and not settled."""
        self._unleased |= mask

    def settle(self, mask: int, *, unsupported: int = 0, moved: int = 0) -> bool:
        """These events are settled; whether that was the last of this connection."""
        had = self._unsettled
        self._unsettled = had & ~mask
        self._unleased &= ~mask
        self._unsupported |= unsupported
        self._moved |= moved
        # Where memory was read after the disk had changed, there was nothing left to finish.
        if self._unsettled or not had:
            return False
        chunk = self.chunk
        chunk._unfinished_connections -= 1
        if self._is_pinned:
            self._is_pinned = False
            chunk._pins -= 1
        return True

    def _pin(self) -> None:
        if not self._is_pinned:
            self._is_pinned = True
            self.chunk._pins += 1


class LogWindow:
    """The oldest chunks in which a connection has something to lease, and where it reads on.

    Two numbers of chunks say what of the log is not in the window: up to `cursor` the log has been
    looked through for this connection, up to `newest` it has something for it.
    """

    __slots__ = ("_cursor", "_listed", "_newest")

    def __init__(self, cursor: int = 0, newest: int = 0) -> None:
        self._cursor = cursor
        self._newest = newest
        self._listed: list[ChunkProgress] = []

    @property
    def listed(self) -> Sequence[ChunkProgress]:
        """What has something to lease, oldest chunk first."""
        return self._listed

    @property
    def cursor(self) -> int:
        """The chunk up to which the log has been looked through."""
        return self._cursor

    @property
    def newest(self) -> int:
        """The newest chunk that has something for this connection."""
        return self._newest

    @property
    def is_behind(self) -> bool:
        """The log has chunks for this connection that are not in its window."""
        return self._cursor < self._newest

    def arrived(self, progress: ChunkProgress, *, had_none: bool, limit: int) -> None:
        """The log has one more chunk for this connection; `had_none`: all else was done with.

        It comes into the window where nothing before it is missing there, and no more than `limit`
        are in it.
        """
        if had_none:
            self._cursor = self._newest
        if self._cursor >= self._newest and len(self._listed) < limit:
            self._cursor = progress.chunk.id
            self.take_in(progress)
        self._newest = progress.chunk.id

    def looked_through(self, upto: int) -> None:
        """The log has nothing up to this chunk that is not in the window."""
        self._cursor = max(self._cursor, upto)

    def take_in(self, progress: ChunkProgress) -> None:
        """Progress comes into the window, and pins its chunk until it is settled."""
        progress._pin()
        self.put_back(progress)

    def put_back(self, progress: ChunkProgress) -> None:
        """Progress has something to lease (again)."""
        if progress._is_listed or not progress._unleased:
            return
        progress._is_listed = True
        listed = self._listed
        if listed and listed[-1].chunk.id > progress.chunk.id:
            insort(listed, progress, key=_chunk_id_of)
        else:
            listed.append(progress)

    def unlist_if_empty(self, progress: ChunkProgress) -> None:
        """Progress that has nothing to lease leaves the window."""
        if progress._unleased or not progress._is_listed:
            return
        progress._is_listed = False
        if self._listed[0] is progress:
            del self._listed[0]
        else:
            self._listed.remove(progress)

    def ahead_of(self, chunk: int, index: int) -> int | None:
        """How many fresh ones go before event `index` of a chunk; None past the window."""
        n = 0
        for progress in self._listed:
            if progress.chunk.id >= chunk:
                before = progress.unleased & ((1 << index) - 1)
                return n + before.bit_count() if progress.chunk.id == chunk else None
            n += progress.unleased.bit_count()
        return None

    def check(self) -> None:
        """Assert that the window is in order and lists what has something to lease."""
        ids = [progress.chunk.id for progress in self._listed]
        assert ids == sorted(set(ids))
        assert all(progress.is_listed and progress.unleased for progress in self._listed)


def leased_in(chunks: Iterable[Chunk], connection: int) -> dict[int, int]:
    """What of these chunks one connection has on lease: masks by chunk id."""
    return {
        chunk.id: progress.leased
        for chunk in chunks
        if (progress := chunk.progress.get(connection)) is not None
        and progress.is_pinned
        and progress.leased
    }


def _chunk_id_of(progress: ChunkProgress) -> int:
    return progress.chunk.id
