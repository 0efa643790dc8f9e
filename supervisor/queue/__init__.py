"""The durable queue, as the rest of the supervisor sees it.

Owns the `Queue` protocol and its values. It speaks of events, deliveries and
connections, never of chunks, tables or files: `sqlite/` is one engine behind
it, `engines.py` builds the one that the config names, and nothing outside this
package may know which one is in use.

A *delivery* is one event on its way through one connection. From `append` on
it is in exactly one place: pending (leased or not), finished, or a dead
letter; `books` counts them and the sum holds at every moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import ClassVar, Protocol

import msgspec

from supervisor.queue.outcomes import DEAD as DEAD
from supervisor.queue.outcomes import ENDED as ENDED
from supervisor.queue.outcomes import OUTCOMES as OUTCOMES
from supervisor.queue.outcomes import Outcome as Outcome
from supervisor.queue.outcomes import described as described


class Route(msgspec.Struct, frozen=True):
    """Where one event goes: names of connections, each in one tuple at most.

    Routes are interned by the router: events that go the same way share one
    object, so that a batch of a hundred events carries a handful of them.
    """

    pending: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """One validated event, ready to be stored.

    `body` is the JSON that workers will get, byte for byte. `user_key` is what
    ordering by user goes by (`userId`, else `anonymousId`).
    """

    message_id: str
    type: str
    user_key: str
    body: bytes
    route: Route


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One leased delivery. `attempt` counts from 1; times are epoch seconds.

    `first_attempt_at` is None while it has not been attempted in its retry window.
    """

    body: bytes
    attempt: int
    received_at: float
    user_key: bytes
    first_attempt_at: float | None = None


class Lease(msgspec.Struct, frozen=True):
    """Deliveries of one connection that the holder may attempt until `expires_at`.

    They are addressed by their index in `deliveries`. What is not settled when
    the lease expires, or when the process dies, is pending again.
    """

    id: int
    connection: str
    expires_at: float
    deliveries: Sequence[Delivery]


class ConnectionSpec(msgspec.Struct, frozen=True):
    """What the queue has to know of a connection. `max_backlog` is bytes; None: an equal share.

    `ordered`: of each user one delivery is leased at most, and none while an
    earlier one of that user is not done with.
    """

    source: str
    max_backlog: int | None = None
    ordered: bool = False


class Delivered(msgspec.Struct, frozen=True):
    """The destination took it; on the first try or on retry is known to the queue."""

    outcome: ClassVar = Outcome.DELIVERED


class Unsupported(msgspec.Struct, frozen=True):
    """The destination has no use for it."""

    outcome: ClassVar = Outcome.UNSUPPORTED


class Postpone(msgspec.Struct, frozen=True):
    """The attempt failed and counts; try again `delay_s` seconds from now.

    `alone`: the next attempt is leased on its own, since the batch failed as a whole.
    """

    delay_s: float
    error: str
    alone: bool = False


class Release(msgspec.Struct, frozen=True):
    """It was not attempted, or the attempt is nobody's fault: back to the front, uncharged."""


class DeadLettered(msgspec.Struct, frozen=True):
    """It becomes a dead letter, FAILED or QUARANTINED; `exit_id` names the evidence."""

    outcome: Outcome
    error: str
    exit_id: str | None = None


Disposition = Delivered | Unsupported | Postpone | Release | DeadLettered


class Depth(msgspec.Struct, frozen=True, gc=False):
    """What one connection has in the queue. Times are epoch seconds of the service's clock."""

    fresh: int
    """Never attempted, not leased."""
    retrying: int
    """Attempted, waiting for their next attempt, not leased."""
    leased: int
    oldest_at: float | None
    """When the oldest pending delivery was received; may lag behind by a few seconds."""
    next_retry_at: float | None
    size_bytes: int = 0
    """Payload of all that is pending, as of the newest commit."""
    parked: int = 0
    """Never attempted, and waiting behind another event of their user that is tried again."""
    held_users: int = 0
    """Users of which an event waits for another attempt and holds back the others."""
    held_since: float | None = None
    """Since when the user that is held back longest is."""

    @property
    def pending(self) -> int:
        return self.fresh + self.retrying + self.leased + self.parked


class Books(msgspec.Struct, frozen=True):
    """The books, counted in deliveries over the life of the state directory."""

    accepted: int = 0
    delivered_first_try: int = 0
    delivered_on_retry: int = 0
    failed: int = 0
    unsupported: int = 0
    filtered: int = 0
    quarantined: int = 0
    pending: int = 0

    @property
    def is_balanced(self) -> bool:
        return not self.excess

    @property
    def excess(self) -> int:
        """Deliveries that are somewhere but were never accepted; below zero, lost ones."""
        ended: int = sum(getattr(self, counter) for counter in ENDED)
        return ended + self.pending - self.accepted


class Counted(msgspec.Struct, frozen=True, gc=False):
    """The books of one connection, and what replays have taken out of them since the start.

    A dead letter that is replayed is not counted as what it was any more.
    """

    books: Books
    replayed_failed: int = 0
    replayed_quarantined: int = 0


class DeliveryRecord(msgspec.Struct, frozen=True):
    """What is known of one delivery. `state` is pending, finished or dead."""

    id: str
    connection: str
    state: str
    outcome: Outcome | None
    attempts: int
    last_error: str | None
    next_attempt_at: float | None
    is_leased: bool
    ahead: int | None
    """Deliveries of the same connection before it, where that can be told cheaply."""
    user: bytes = b""
    """The user that it is of, where that was looked up."""
    held_since: float | None = None
    """Since when it waits behind another event of its user; None where it does not."""


class EventRecord(msgspec.Struct, frozen=True):
    """What is known of one event, whatever became of it."""

    message_id: str
    source: str
    received_at: float
    deliveries: Sequence[DeliveryRecord]
    body: bytes | None = None
    """The event, while it is stored: as long as a delivery is pending or a dead letter."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One failed or quarantined delivery. `event` is there where one dead letter was asked for."""

    id: str
    connection: str
    message_id: str
    outcome: Outcome
    reason: str
    attempts: int
    first_at: float | None
    last_at: float
    exit: str | None
    event: bytes | None = None


class DeadLetterFilter(msgspec.Struct, frozen=True):
    """Which dead letters; all given conditions must hold. Times are epoch seconds.

    `error` is a case-insensitive substring of the reason; `cause` is what
    `core.causes.cause_of` makes of it, whole, and `public_cause` what of that anybody may read.
    """

    connection: str | None = None
    outcome: Outcome | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None
    ids: tuple[str, ...] | None = None
    cause: str | None = None
    public_cause: str | None = None


class DeadLetterCause(msgspec.Struct, frozen=True):
    """Dead letters of one connection that ended so for one cause. Times are epoch seconds."""

    connection: str
    outcome: Outcome
    cause: str
    count: int
    first_at: float
    last_at: float


class DeadLetterCauses(msgspec.Struct, frozen=True):
    """Dead letters by cause, the most first: `total` in all, of which `more` are in none listed.

    Not `is_whole`: there was no time to look at the oldest ones, which are in no number.
    """

    causes: Sequence[DeadLetterCause]
    total: int
    more: int
    is_whole: bool = True


class DeadLettersSwept(msgspec.Struct, frozen=True):
    """What one step over the dead letters has done; `after` is where the next one goes on.

    `matched` of those that were looked at, `done` of those; `after` None: there are no more.
    """

    matched: int
    done: int
    after: str | None


#: In the place of `after`: before the first dead letter.
FIRST_DEAD_LETTER = "0"


class Selection(msgspec.Struct, frozen=True):
    """How many dead letters matched, and for how many it was done (0 in a dry run)."""

    matched: int
    done: int


class DedupeStats(msgspec.Struct, frozen=True):
    """`window_s` is what the byte budget allows now, at most what the config asks for."""

    window_s: float
    ids: int
    dropped: int


class QueueStats(msgspec.Struct, frozen=True):
    """Sizes in bytes. `intake` is "open", or why the queue takes nothing."""

    intake: str
    live_bytes: int
    max_bytes: int
    dead_letter_bytes: int
    dead_letters_dropped: int
    evicted: int
    dedupe: DedupeStats
    commits: int
    commit_seconds: float
    files_missing: str = ""
    """What was removed or replaced under the running service; "" while all is in its place."""
    log_bytes: int = 0
    """How long the store's log of what is not in its place yet is on disk."""
    log_held: str = ""
    """Who keeps that log from being emptied, and what to do; "" while nobody does."""


class QueueFull(Exception):
    """The whole disk budget is used; `retry_after_s` seconds is a fair time to wait."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueUnavailable(Exception):
    """The store cannot take events now: disk full, I/O error, corrupt file, closing.

    The text says which, and what the operator can do. Nothing acknowledged is lost.
    """


class LeaseExpired(Exception):
    """The lease is over: its deliveries may be in another lease by now."""


def message_key(source: str, message_id: str) -> bytes:
    """128-bit identity of an event within its source, for deduplication and look-ups."""
    return blake2b(
        message_id.encode(), digest_size=16, salt=blake2b(source.encode(), digest_size=16).digest()
    ).digest()


OnEvicted = Callable[[str, str, int], None]


class Queue(Protocol):
    """Any engine. One task at a time need not be awaited: methods may run concurrently."""

    async def start(
        self,
        connections: Mapping[str, ConnectionSpec],
        on_work: Callable[[str], None],
        on_evicted: OnEvicted | None = None,
    ) -> None:
        """Open the store for these connections, by name. Raises QueueUnavailable.

        `on_work(connection)` is called on the event loop whenever a connection
        that had nothing to lease may have something now (new events, a retry
        fallen due, a lease returned). Calls may be spurious, never missing.
        `on_evicted(connection, reason, n)` is called there when `n` deliveries
        have become dead letters for want of room.
        """

    async def close(self) -> None:
        """Write down what is settled, and release the store. Leases are void."""

    async def set_connections(self, connections: Mapping[str, ConnectionSpec]) -> Mapping[str, int]:
        """Follow a config change.

        Pending deliveries of connections that are gone become dead letters
        (`failed`, "connection is no longer in the config"); returns how many,
        by connection.
        """

    async def append(
        self, source: str, events: Sequence[NewEvent], received_at: float
    ) -> Sequence[bool]:
        """Store events; returns once they are on disk, True where accepted, False for a repeat.

        Raises QueueFull or QueueUnavailable, then nothing of the call is stored.
        A cancelled caller may or may not have stored its events.
        """

    async def lease(
        self,
        connection: str,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        retries: bool,
        exclude_users: frozenset[bytes] = frozenset(),
    ) -> Lease | None:
        """Take the oldest fresh deliveries, or with `retries` those whose next attempt is due.

        At least one delivery is leased however large it is; None where there is none.
        """

    async def extend(self, lease: Lease, term_s: float) -> None:
        """Hold a lease `term_s` seconds from now. Raises LeaseExpired."""

    async def settle(self, lease: Lease, dispositions: Sequence[tuple[int, Disposition]]) -> None:
        """Decide deliveries of a lease; the first disposition on an index counts.

        Returns when the engine has taken them over; they are on disk with the
        next group commit. Raises LeaseExpired; IndexError for no such delivery.
        """

    def depth(self, connection: str) -> Depth:
        """What a connection has in the queue, from memory, at no cost."""

    def books(self) -> Books:
        """The books of all connections, from memory, as of the newest commit."""

    def books_by_connection(self) -> Mapping[str, Books]:
        """The books, by connection; the sum is `books()`."""

    def counted_connections(self) -> Sequence[str]:
        """Names of all that the books count, also those that the config does not have any more."""

    def counted(self, connection: str) -> Counted:
        """The books of one of them; of one that is unknown, zeros."""

    def counted_together(self) -> Counted:
        """The books of all."""

    async def audit(self) -> Books:
        """The books with `pending` counted anew in the store itself."""

    async def find(self, message_id: str) -> Sequence[EventRecord]:
        """What became of an event; one record for each source that sent this id."""

    async def dead_letters(
        self, where: DeadLetterFilter, *, limit: int, after: str | None
    ) -> Sequence[DeadLetter]:
        """Dead letters, newest first, without events; `after` is the last id of the page before."""

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter with its event."""

    async def dead_letter_causes(self, where: DeadLetterFilter, *, limit: int) -> DeadLetterCauses:
        """How many there are of each cause, in steps between which others read."""

    def newest_dead_letter(self) -> str:
        """A bound: what becomes a dead letter from here on, in this run, has a later id."""

    async def replay_some(
        self, where: DeadLetterFilter, *, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        """A step of `replay`, in one transaction: at most `most`, with ids in (after, upto]."""

    async def drop_some(
        self, where: DeadLetterFilter, *, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        """A step of `drop`, as above."""

    async def replay(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Dead letters back to pending with a new retry window, in one step each.

        Those of connections that the config does not have are matched, not done.
        """

    async def drop(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        """Forget dead letters. The books keep counting them as what they were."""

    def stats(self) -> QueueStats:
        """Sizes and health, from memory."""
