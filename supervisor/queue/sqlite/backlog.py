"""What one connection has pending, as the event loop's thread knows it.

Owns the four counts of a connection (fresh, retrying, leased, parked) and everything that has to
move with them: the window of the log, the heap of retries, what is leased, the order of users. It
changes by the verbs below and by nothing else, so that `pending` adds up at every moment. The disk
has everything; this holds no object for each pending event. Must not do I/O or know SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import add

from supervisor.core.scheduling.user_order import UserOrder
from supervisor.queue import ConnectionSpec
from supervisor.queue.sqlite.chunk_progress import ChunkProgress, LogWindow
from supervisor.queue.sqlite.counters import (
    COUNTERS,
    DEAD_LETTER_BYTES,
    FAILED,
    PENDING_BYTES,
    QUARANTINED,
)
from supervisor.queue.sqlite.retry_heap import RetryBudget, RetryEntry, RetryHeap

#: Seconds for which the time of the oldest delivery is good enough.
OLDEST_FOR_S = 1.0


class ConnectionBacklog:
    """One connection. `spec` is None where the config does not have it.

    Counts are as of now, `books` as of the newest commit. What is *parked* waits on disk behind an
    earlier event of its user. `epoch` changes where the disk was changed past the window: what was
    read before that is not valid any more.
    """

    __slots__ = (
        "_books",
        "_epoch",
        "_fresh",
        "_is_locked",
        "_lease_times",
        "_leased",
        "_leased_retries",
        "_oldest",
        "_oldest_until",
        "_order",
        "_parked",
        "_retries",
        "_retrying",
        "_window",
        "id",
        "name",
        "replayed_failed",
        "replayed_quarantined",
        "source",
        "spec",
    )

    def __init__(
        self,
        number: int,
        name: str,
        source: int,
        budget: RetryBudget,
        *,
        books: Sequence[int] = (0,) * len(COUNTERS),
        fresh: int = 0,
        retrying: int = 0,
        parked: int = 0,
        cursor: int = 0,
        newest: int = 0,
    ) -> None:
        self.id = number
        self.name = name
        self.source = source
        self.spec: ConnectionSpec | None = None
        self._books = list(books)
        self.replayed_failed = 0
        self.replayed_quarantined = 0
        self._fresh = fresh
        self._retrying = retrying
        self._leased = 0
        self._parked = parked
        self._window = LogWindow(cursor, newest)
        self._retries = RetryHeap(budget)
        self._leased_retries: set[int] = set()
        self._lease_times: dict[int, float] = {}
        self._order: UserOrder | None = None
        self._is_locked = False
        self._epoch = 0
        self._oldest: float | None = None
        self._oldest_until = (0.0, 0.0)

    # --- counts ---

    @property
    def fresh(self) -> int:
        """Never attempted, and not leased."""
        return self._fresh

    @property
    def retrying(self) -> int:
        """Waiting for another attempt, and not leased."""
        return self._retrying

    @property
    def leased(self) -> int:
        """Leased, or being read for a lease."""
        return self._leased

    @property
    def parked(self) -> int:
        """Waiting behind an earlier event of their user."""
        return self._parked

    @property
    def unleased(self) -> int:
        """All that is pending and not leased."""
        return self._fresh + self._retrying + self._parked

    @property
    def pending(self) -> int:
        """All that is pending."""
        return self._fresh + self._retrying + self._leased + self._parked

    @property
    def books(self) -> Sequence[int]:
        """Counters as of the newest commit."""
        return self._books

    @property
    def pending_bytes(self) -> int:
        """Payload bytes that are pending, as of the newest commit."""
        return self._books[PENDING_BYTES]

    @property
    def dead_letter_bytes(self) -> int:
        """Bytes of dead letters, as of the newest commit."""
        return self._books[DEAD_LETTER_BYTES]

    def committed(self, delta: Sequence[int]) -> None:
        """Counters have changed on disk."""
        self._books = list(map(add, self._books, delta))

    def replayed(self, delta: Sequence[int]) -> tuple[int, int]:
        """Counters that a replay has changed: how many were failed, and how many quarantined."""
        failed, quarantined = -min(0, delta[FAILED]), -min(0, delta[QUARANTINED])
        self.replayed_failed += failed
        self.replayed_quarantined += quarantined
        return failed, quarantined

    # --- what is seen of its parts ---

    @property
    def window(self) -> LogWindow:
        """The chunks that are leased from next."""
        return self._window

    @property
    def retries(self) -> RetryHeap:
        """The retries that are leased next."""
        return self._retries

    @property
    def leased_retries(self) -> AbstractSet[int]:
        """Row ids of retries that are leased."""
        return self._leased_retries

    @property
    def order(self) -> UserOrder | None:
        """Whose turn it is, where events of a user keep their order."""
        return self._order

    @property
    def epoch(self) -> int:
        """How often the disk was changed past what memory has."""
        return self._epoch

    @property
    def next_retry_at(self) -> float | None:
        """When the next retry falls due; the horizon's time where memory has run out of them."""
        at = self._retries.first_due_at
        if at is not None and not self._retries.is_empty:
            return at
        if not self._retrying:
            return None
        return 0.0 if at is None else at

    @property
    def has_unread_retries(self) -> bool:
        """Memory has run out of retries, and the disk has more."""
        retries = self._retries
        return retries.is_empty and self._retrying > 0 and retries.horizon is not None

    def oldest_at(self, now: float) -> float | None:
        """When the oldest of what is in memory was received; a second late at most."""
        if not self.unleased and not self._lease_times:
            return None
        since, until = self._oldest_until
        if not since <= now < until:
            self._oldest_until = (now, now + OLDEST_FOR_S)
            listed = self._window.listed
            times = [listed[0].chunk.received] if listed else []
            times += self._retries.received_times()
            times += self._lease_times.values()
            self._oldest = min(times, default=self._oldest)
        return self._oldest

    # --- fresh ---

    def arrived(self, progress: ChunkProgress, limit: int) -> None:
        """Events of a new chunk; the window takes no more than `limit` chunks."""
        self._window.arrived(progress, had_none=not self._fresh, limit=limit)
        self._fresh += progress.unleased.bit_count()

    def lease_fresh(self, parts: Iterable[tuple[ChunkProgress, int]], n: int) -> None:
        """Events of these masks are leased, `n` in all."""
        for progress, mask in parts:
            progress.lease(mask)
            self._window.unlist_if_empty(progress)
        self._fresh -= n
        self._leased += n

    def return_fresh(self, progress: ChunkProgress, mask: int) -> None:
        """Leased events are at the front again, as if they had not been leased."""
        n = mask.bit_count()
        self._leased -= n
        self._fresh += n
        progress.give_back(mask)
        self._window.put_back(progress)

    def park_fresh(self, progress: ChunkProgress, mask: int) -> None:
        """Events that were not leased wait on disk behind others of their user.

        They have left their chunk, and settle it as what moves to retries does.
        """
        n = mask.bit_count()
        self._fresh -= n
        self._parked += n
        progress.lease(mask)
        self._window.unlist_if_empty(progress)

    # --- leases ---

    def lease_began(self, lease: int, received: float) -> None:
        """A lease whose oldest delivery was received then."""
        self._lease_times[lease] = received

    def lease_ended(self, lease: int) -> None:
        """All of it is decided, or it has expired."""
        del self._lease_times[lease]

    def settled(self, n: int) -> None:
        """Leased deliveries have ended."""
        self._leased -= n

    # --- retries ---

    def retry_planned(self, entry: RetryEntry) -> bool:
        """A leased delivery waits for another attempt; the answer is that of `RetryHeap.plan`."""
        self._leased_retries.discard(entry[1])
        self._leased -= 1
        self._retrying += 1
        return self._retries.plan(entry)

    def lease_retries(self, now: float, most: int) -> list[RetryEntry]:
        """Retries that are due are leased."""
        entries = self._retries.take_due(now, most)
        self._leased_retries.update(entry[1] for entry in entries)
        self._retrying -= len(entries)
        self._leased += len(entries)
        return entries

    def return_retry(self, entry: RetryEntry) -> None:
        """A leased retry is due still, as if it had not been leased."""
        self._leased_retries.discard(entry[1])
        self._leased -= 1
        self._retrying += 1
        self._retries.put_back(entry)

    def retry_settled(self, row_id: int) -> None:
        """A leased retry has ended."""
        self._leased_retries.discard(row_id)
        self._leased -= 1

    def retry_replayed(self, entry: RetryEntry, *, is_known: bool) -> bool:
        """A dead letter is a retry again; the answer is that of `RetryHeap.plan`.

        `is_known`: a look at the disk was faster than the news of it.
        """
        self._retrying += 1
        return not is_known and self._retries.plan(entry)

    # --- order of users ---

    def replay_parked(self) -> None:
        """A dead letter waits behind others of its user."""
        self._parked += 1

    def promoted(self, entry: RetryEntry, *, is_known: bool) -> bool:
        """What was parked is its user's next attempt; as `retry_replayed`."""
        self._parked -= 1
        return self.retry_replayed(entry, is_known=is_known)

    def order_began(self, order: UserOrder, parked: int) -> None:
        """Users keep their order from now on; so many retries were parked for it."""
        self._order = order
        self._parked += parked
        self._retrying -= parked
        if parked:
            self._reread_retries()

    def order_ended(self, due: int) -> None:
        """Users keep no order any more: what was parked is due, so many."""
        self._order = None
        self._parked -= due
        self._retrying += due
        self._reread_retries()

    def _reread_retries(self) -> None:
        self._retries.forget_all()
        self._epoch += 1

    # --- what changes on disk past this memory ---

    @property
    def is_locked(self) -> bool:
        """Nothing may be leased: the disk is about to change past this memory."""
        return self._is_locked

    def lock(self) -> None:
        """Lease nothing until `unlock`."""
        self._is_locked = True

    def unlock(self) -> None:
        """What is pending may be leased again."""
        self._is_locked = False

    def evicted(self, *, fresh: int, retries: Sequence[int], parked: int) -> None:
        """So many events of the log, and these retries, became dead letters on disk.

        Of the retries, `parked` were. The caller settles the progress on chunks, which it knows.
        """
        self._epoch += 1
        self._fresh -= fresh
        self._retrying -= len(retries) - parked
        self._parked -= parked
        if retries:
            self._retries.drop(frozenset(retries))

    def check(self, parts: Mapping[int, ChunkProgress], undecided: int) -> None:
        """Assert that the books of this memory add up.

        `parts` is its progress by loaded chunk, `undecided` what the lease table knows as leased;
        for a moment when nothing is being read.
        """
        assert min(self._fresh, self._retrying, self._leased, self._parked) >= 0
        assert self._leased == undecided
        self._window.check()
        listed = sum(progress.unleased.bit_count() for progress in self._window.listed)
        assert listed <= self._fresh
        if not self._window.is_behind:
            assert listed == self._fresh, "what is not in the window has to be read"
        pinned = [one for one in parts.values() if one.is_pinned and one.unleased]
        assert all(progress.is_listed for progress in pinned)
        assert len(self._leased_retries) <= self._leased
        assert self._order is not None or not self._parked
