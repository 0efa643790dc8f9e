"""The attempts of a delivery that went wrong, and its trials where a worker died with it.

Owns a ring in memory, bounded in records, bytes and work, found by connection and message id
without a search. Where it is full, the connection that has most of it loses its oldest, so that one
that fails all the time pushes nobody else out. What goes well is not told here at all. Of an event
it has the hash of its id alone; a reason is without secrets, and who may see it says whoever asks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from sys import getsizeof
from typing import Final, Literal

import msgspec

from supervisor.queue import Delivery

#: Records, and the bytes that they may take together.
MOST_RECORDS: Final = 20_000
MOST_BYTES: Final = 3 * 1024 * 1024
#: Records that are taken in a second, of one connection and of all; each costs 2 µs, and more where
#: an event is long: to find its id takes 1 µs a kilobyte.
MOST_OF_CONNECTION_A_SECOND: Final = 500
MOST_A_SECOND: Final = 4_000
#: Characters of a reason that are kept.
REASON_CHARS: Final = 500
#: What a record, an attempt that several deliveries may share (beside its texts), and a connection
#: are reckoned at.
RECORD_BYTES, ATTEMPT_BYTES, CONNECTION_BYTES = 170, 130, 550

#: What became of an attempt: it failed in one of these ways; or its worker died with it
#: ("suspected"), it was sent again with nothing else in its worker ("tried"), which it survived
#: ("innocent"), or it was given back as if it was never sent ("released").
Trial = Literal["suspected", "tried", "innocent", "released"]
AttemptOutcome = Literal["failed", "retry", "quarantined", "rejected", "credentials"] | Trial


class AttemptRecord(msgspec.Struct, frozen=True, gc=False):
    """One attempt; deliveries of a batch that met with the same may share it.

    `at` is epoch seconds; `issue` the number of the issue that counted it; `sample_at` is the time
    of the sample of just this attempt, where one is kept; `exit_id` names the exit of the worker
    that died with it. `part_bytes` is what each of those that share it is reckoned at.
    """

    at: float
    outcome: AttemptOutcome
    attempt: int
    worker: str
    cause: str
    reason: str
    issue: int | None = None
    sample_at: float | None = None
    exit_id: str | None = None
    part_bytes: int = 0


class _OfConnection:
    """Records of one connection: hashes of message ids, oldest first, and attempts by these.

    A hash is Python's, of 64 bits with a key of this process, so that nobody finds two ids of one.
    """

    __slots__ = ("_gone", "_order", "attempts", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts: dict[int, list[AttemptRecord]] = {}
        # What is gone stays in front until it is half of it: a deque takes 600 bytes at least.
        self._order: list[int] = []
        self._gone = 0

    def __len__(self) -> int:
        return len(self._order) - self._gone

    def add(self, key: int, attempt: AttemptRecord) -> None:
        """One more."""
        self._order.append(key)
        known = self.attempts.get(key)
        if known is None:
            self.attempts[key] = [attempt]
        else:
            known.append(attempt)

    def pop_oldest(self) -> AttemptRecord:
        """Forget one."""
        key = self._order[self._gone]
        self._gone += 1
        if self._gone * 2 > len(self._order):
            del self._order[: self._gone]
            self._gone = 0
        attempts = self.attempts[key]
        oldest = attempts.pop(0)
        if not attempts:
            del self.attempts[key]
        return oldest

    def clear(self) -> None:
        """Forget all."""
        self._order.clear()
        self._gone = 0
        self.attempts.clear()


class Attempts:
    """Those of one service since `since`, in epoch seconds. For the event loop's thread."""

    def __init__(
        self, since: float, *, most: int = MOST_RECORDS, most_bytes: int = MOST_BYTES
    ) -> None:
        self.since = since
        self.forgotten = 0
        """Records that had to make room for others, or were too many at once."""
        self._most = most
        self._most_bytes = most_bytes
        self._n = 0
        self._bytes = 0
        self._of: dict[str, _OfConnection] = {}
        #: connections by how many records they have, and the most that one has
        self._by_size: dict[int, dict[str, _OfConnection]] = {}
        self._largest = 0
        self._second = 0
        self._taken: dict[str, int] = {}
        self._taken_in_all = 0

    # --- telling ---

    def add(
        self,
        connection: str,
        met: AttemptRecord,
        deliveries: Sequence[Delivery],
        sampled: bytes | None = None,
    ) -> None:
        """These deliveries met with it: each has an attempt like that, of its own number.

        `met.sample_at` is of the one whose event `sampled` is, and of no other.
        """
        n = self._room(connection, len(deliveries), met.at)
        self.forgotten += len(deliveries) - n
        if not n:
            return
        reason = met.reason[:REASON_CHARS]
        size = ATTEMPT_BYTES + getsizeof(reason) + getsizeof(met.cause)
        by_number: dict[int, AttemptRecord] = {}
        of = self._of.get(connection)
        if of is None:
            of = self._of[connection] = _OfConnection(connection)
            self._bytes += CONNECTION_BYTES
        before = len(of)
        for delivery in _with_first(deliveries, sampled)[:n]:
            number = delivery.attempt
            if delivery.body is sampled:
                attempt = _numbered(met, number, reason, met.sample_at, size)
            elif number in by_number:
                attempt = by_number[number]
            else:
                attempt = _numbered(met, number, reason, None, size // n + 1)
                by_number[number] = attempt
            self._put(of, hash(_message_id(delivery.body)), attempt)
        self._resized(of, before)
        while self._n > self._most or self._bytes > self._most_bytes:
            self._forget_one()

    def _room(self, connection: str, wanted: int, now: float) -> int:
        """How many of them are taken in this second."""
        if int(now) != self._second:
            self._second = int(now)
            self._taken.clear()
            self._taken_in_all = 0
        taken = self._taken.get(connection, 0)
        room = min(MOST_OF_CONNECTION_A_SECOND - taken, MOST_A_SECOND - self._taken_in_all)
        n = min(wanted, room)
        self._taken[connection] = taken + n
        self._taken_in_all += n
        return n

    def _put(self, of: _OfConnection, key: int, attempt: AttemptRecord) -> None:
        of.add(key, attempt)
        self._n += 1
        self._bytes += RECORD_BYTES + attempt.part_bytes

    def _forget_one(self) -> None:
        """The oldest of the connection that has most."""
        of = next(iter(self._by_size[self._largest].values()))
        before = len(of)
        self._n -= 1
        self._bytes -= RECORD_BYTES + of.pop_oldest().part_bytes
        self.forgotten += 1
        self._resized(of, before)

    def _resized(self, of: _OfConnection, before: int) -> None:
        """It had `before` records."""
        if before:
            same = self._by_size[before]
            del same[of.name]
            if not same:
                del self._by_size[before]
        now = len(of)
        if now:
            self._by_size.setdefault(now, {})[of.name] = of
        else:
            del self._of[of.name]
            self._bytes -= CONNECTION_BYTES
        if now > self._largest:
            self._largest = now
        elif before == self._largest and before not in self._by_size:
            self._largest = now if now == before - 1 else max(self._by_size, default=0)

    # --- looking ---

    def of(self, connection: str, message_id: str) -> Sequence[AttemptRecord]:
        """What is kept of one delivery, oldest first."""
        of = self._of.get(connection)
        return () if of is None else of.attempts.get(hash(message_id), ())

    def __len__(self) -> int:
        """Records that are kept."""
        return self._n

    @property
    def size_bytes(self) -> int:
        """What they are reckoned to take."""
        return self._bytes

    # --- a reload ---

    def follow(self, connections: Collection[str]) -> None:
        """Those of other connections go."""
        for name in self._of.keys() - set(connections):
            of = self._of[name]
            before = len(of)
            self._n -= before
            self._bytes -= sum(
                RECORD_BYTES + attempt.part_bytes
                for attempts in of.attempts.values()
                for attempt in attempts
            )
            of.clear()
            self._resized(of, before)


def _numbered(
    met: AttemptRecord, number: int, reason: str, sample_at: float | None, part_bytes: int
) -> AttemptRecord:
    return AttemptRecord(
        met.at,
        met.outcome,
        number,
        met.worker,
        met.cause,
        reason,
        met.issue,
        sample_at,
        met.exit_id,
        part_bytes,
    )


def _with_first(deliveries: Sequence[Delivery], body: bytes | None) -> Sequence[Delivery]:
    """The one that has a sample in front: it is not to be among those that are too many."""
    if body is None:
        return deliveries
    at = next((n for n, delivery in enumerate(deliveries) if delivery.body is body), 0)
    return [deliveries[at], *deliveries[:at], *deliveries[at + 1 :]]


class _Named(msgspec.Struct):
    """What is read of a stored event."""

    messageId: str = ""


_read = msgspec.json.Decoder(_Named).decode


def _message_id(body: bytes) -> str:
    """The id in a stored event, which intake has seen to; "" where it is none all the same."""
    try:
        return _read(body).messageId
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""  # nobody can ask for it
