"""Leases: what is taken, what becomes of each delivery, what comes back.

Owns the lease table and the hot path of lease and settle, on memory and
journal alone. Must not do I/O; what is missing in memory its caller fetches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import repeat

from supervisor.queue import (
    Bury,
    Delivered,
    Delivery,
    Lease,
    LeaseExpired,
    Outcome,
    Postpone,
    Release,
    Unsupported,
    Verdict,
)
from supervisor.queue.backlog import Chunk, Due, Held, Lane, RetryRow, Segment, Share
from supervisor.queue.chunks import bits_of, full_mask, mask_of
from supervisor.queue.journal import (
    END_RETRY,
    ENDED_ON_RETRY,
    LETTER_FROM_CHUNK,
    LETTER_FROM_RETRY,
    RETRY_AGAIN,
    RETRY_FROM_CHUNK,
    Journal,
    history_size,
)
from supervisor.queue.letters import LETTER_OVERHEAD, message_id_of
from supervisor.queue.memory import Memory
from supervisor.queue.schema import (
    FAILED,
    FIRST_TRY,
    LETTER_BYTES,
    LETTERS,
    ON_RETRY,
    PENDING,
    PENDING_BYTES,
    QUARANTINED,
    RETRYING,
    UNSUPPORTED,
)

#: Why deliveries of a connection end that has left the config.
GONE = "connection is no longer in the config"
#: Payload bytes that are read ahead of what a lease needs.
READ_AHEAD_BYTES = 1024 * 1024


class Leases:
    """All leases. `next_row_id` numbers retries and dead letters; `on_work` hears of returns."""

    def __init__(
        self,
        memory: Memory,
        next_row_id: Callable[[], int],
        on_work: Callable[[Lane], None],
        *,
        keeps_history: bool,
    ) -> None:
        self._memory = memory
        self._next_row_id = next_row_id
        self._on_work = on_work
        self._keeps_history = keeps_history
        self._held: dict[int, Held] = {}
        self._expiry: list[tuple[float, int]] = []
        self._last_id = 0

    # --- terms ---

    @property
    def next_expiry(self) -> float | None:
        """When a lease may expire next."""
        return self._expiry[0][0] if self._expiry else None

    def expire(self, journal: Journal, now: float) -> None:
        """Take back what is overdue."""
        while self._expiry and self._expiry[0][0] <= now:
            _, lease_id = heappop(self._expiry)
            held = self._held.get(lease_id)
            if held is None:
                continue
            if held.expires_at > now:  # extended since
                heappush(self._expiry, (held.expires_at, lease_id))
                continue
            for index in list(held.open_indices()):
                self._decide(held, index, Release(), journal, now)
            self._end(held)

    def extend(self, lease: Lease, until: float) -> None:
        """Hold a lease longer. Raises LeaseExpired."""
        self._of(lease).expires_at = until
        heappush(self._expiry, (until, lease.id))

    def leased_of(self, lane: Lane) -> dict[int, int]:
        """What of a connection's chunks is leased: masks by chunk id."""
        return {
            chunk.id: share.left & ~share.todo
            for chunk in self._memory.chunks.values()
            if (share := chunk.shares.get(lane.id)) is not None
            and share.is_held
            and share.left & ~share.todo
        }

    def _of(self, lease: Lease) -> Held:
        held = self._held.get(lease.id)
        if held is None:
            raise LeaseExpired(
                f"lease {lease.id} of {lease.connection} is over: what it held is pending again"
            )
        return held

    def _hold(
        self, lane: Lane, deliveries: Sequence[Delivery], size: int, now: float, term_s: float
    ) -> Held:
        while self._expiry and self._expiry[0][1] not in self._held:
            heappop(self._expiry)
        self._last_id += 1
        n = len(deliveries)
        held = Held(
            self._last_id, lane, now, now + term_s, deliveries, bytearray(repeat(1, n)), size
        )
        self._held[held.id] = held
        lane.leases[held.id] = deliveries[0].received_at
        heappush(self._expiry, (held.expires_at, held.id))
        return held

    # --- taking ---

    def missing(self, lane: Lane, max_events: int) -> list[Chunk]:
        """Chunks whose payload a lease wants and memory does not have, and some that follow."""
        found: list[Chunk] = []
        events = size = 0
        for share in lane.window:
            if events >= max_events and (not found or size >= READ_AHEAD_BYTES):
                break
            if share.chunk.deliveries is None:
                found.append(share.chunk)
                size += share.chunk.size
            events += share.todo.bit_count()
        return found

    def take_fresh(
        self,
        lane: Lane,
        now: float,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """Lease the oldest fresh deliveries whose payload is in memory."""
        segments: list[Segment] = []
        deliveries: list[Delivery] = []
        size = 0
        for share in lane.window:
            known = share.chunk.deliveries
            if known is None or len(deliveries) >= max_events or (size and size >= max_bytes):
                break
            positions, taken, has_room = _pick(
                share,
                known,
                max_events - len(deliveries),
                max_bytes - size,
                exclude_users,
                is_first=not deliveries,
            )
            if taken:
                mask = share.todo if len(taken) == share.todo.bit_count() else mask_of(positions)
                segments.append(Segment(len(deliveries), share, positions, mask))
                deliveries = deliveries + taken if deliveries else taken
                size += sum(len(delivery.body) for delivery in taken)
            if not has_room:
                break
        if not segments:
            return None
        for segment in segments:
            share = segment.share
            share.todo &= ~segment.mask
            if not share.todo:
                lane.unlist(share)
        held = self._hold(lane, deliveries, size, now, term_s)
        held.segments = segments
        lane.fresh -= len(deliveries)
        lane.leased += len(deliveries)
        return Lease(held.id, lane.name, held.expires_at, deliveries)

    def take_retries(
        self, lane: Lane, entries: list[Due], deliveries: list[Delivery], now: float, term_s: float
    ) -> Lease:
        """Lease retries that were taken off the heap with `reserve`."""
        size = sum(len(delivery.body) for delivery in deliveries)
        held = self._hold(lane, deliveries, size, now, term_s)
        held.entries = entries
        return Lease(held.id, lane.name, held.expires_at, deliveries)

    def reserve(self, lane: Lane, now: float, most: int) -> list[Due]:
        """Retries that are due, counted as leased while they are read."""
        entries = lane.take_due(now, most)
        self._memory.retries_loaded -= len(entries)
        lane.leased_retries.update(entry[1] for entry in entries)
        lane.retrying -= len(entries)
        lane.leased += len(entries)
        return entries

    def unreserve(self, lane: Lane, entries: Sequence[Due]) -> None:
        """They are not leased after all."""
        for entry in entries:
            lane.leased_retries.discard(entry[1])
            self._memory.retries_loaded += 1
            heappush(lane.due, entry)
        lane.retrying += len(entries)
        lane.leased -= len(entries)

    # --- settling ---

    def settle(
        self, lease: Lease, verdicts: Sequence[tuple[int, Verdict]], journal: Journal, now: float
    ) -> None:
        """Decide deliveries. Raises LeaseExpired, and IndexError before anything is decided."""
        held = self._of(lease)
        undecided = held.undecided
        size = len(undecided)
        delivered: list[int] = []
        others: list[tuple[int, Verdict]] = []
        for index, verdict in verdicts:
            if not 0 <= index < size:
                raise IndexError(f"lease {lease.id} has no delivery {index}, it has {size}")
            if type(verdict) is Delivered:
                delivered.append(index)
            else:
                others.append((index, verdict))
        # The first verdict on an index counts, whichever it is.
        if others:
            for index, verdict in verdicts:
                if undecided[index]:
                    self._decide(held, index, verdict, journal, now)
        else:
            self._delivered(held, delivered, journal)
        if 1 not in held.undecided:
            self._end(held)

    def _end(self, held: Held) -> None:
        del self._held[held.id]
        del held.lane.leases[held.id]

    def _delivered(self, held: Held, indices: list[int], journal: Journal) -> None:
        undecided = held.undecided
        n = undecided.count(1)
        if held.segments and n == len(indices) == len(undecided) == len(set(indices)):
            size = held.size_bytes
            held.undecided = bytearray(n)
            for segment in held.segments:
                self._finish(segment.share, segment.mask, journal)
            self._count_delivered(held.lane, FIRST_TRY, n, size, journal)
            return
        for index in indices:
            if undecided[index]:
                self._decide(held, index, _DELIVERED, journal, 0.0)

    def _count_delivered(
        self, lane: Lane, counter: int, n: int, size: int, journal: Journal
    ) -> None:
        lane.leased -= n
        journal.count(lane.id, counter, n)
        journal.count(lane.id, PENDING, -n)
        journal.count(lane.id, PENDING_BYTES, -size)

    def _finish(self, share: Share, mask: int, journal: Journal) -> None:
        """Events of a chunk are settled for a connection."""
        chunk = share.chunk
        share.left &= ~mask
        if share not in journal.dirty:
            journal.dirty[share] = None
            chunk.unwritten += 1
        if share.left:
            return
        share.is_held = False
        chunk.holders -= 1
        chunk.open -= 1
        if not chunk.open:
            journal.finished.append(chunk)
            self._memory.live_bytes -= chunk.size
            for other in chunk.shares.values():
                if other in journal.dirty:
                    del journal.dirty[other]
                    chunk.unwritten -= 1

    def _decide(
        self, held: Held, index: int, verdict: Verdict, journal: Journal, now: float
    ) -> None:
        held.undecided[index] = 0
        lane = held.lane
        if lane.spec is None and isinstance(verdict, Postpone | Release):
            reason = f"{GONE}; last error: {verdict.error}" if type(verdict) is Postpone else GONE
            verdict = Bury(Outcome.FAILED, reason)
        if held.segments:
            segment = held.segment_of(index)
            position = segment.positions[index - segment.base]
            self._decide_fresh(held, index, segment.share, position, verdict, journal, now)
        else:
            self._decide_retry(held, index, verdict, journal, now)

    def _decide_fresh(
        self,
        held: Held,
        index: int,
        share: Share,
        position: int,
        verdict: Verdict,
        journal: Journal,
        now: float,
    ) -> None:
        lane, delivery, bit = held.lane, held.deliveries[index], 1 << position
        size = len(delivery.body)
        where = (position, share.chunk.id)
        match verdict:
            case Delivered():
                self._count_delivered(lane, FIRST_TRY, 1, size, journal)
            case Unsupported():
                share.unsupported |= bit
                self._count_delivered(lane, UNSUPPORTED, 1, size, journal)
            case Bury():
                share.moved |= bit
                first_at = held.leased_at
                self._bury(
                    held, delivery, verdict, LETTER_FROM_CHUNK, where, first_at, journal, now
                )
            case Postpone():
                share.moved |= bit
                lane.leased -= 1
                row = RetryRow(
                    self._next_row_id(),
                    lane.id,
                    now + max(0.0, verdict.delay_s),
                    verdict.alone,
                    delivery.attempt,
                    held.leased_at,
                    delivery,
                )
                statement = (
                    row.id,
                    lane.id,
                    row.next_at,
                    row.alone,
                    delivery.received_at,
                    size,
                    row.attempts,
                    row.first_at,
                    verdict.error,
                    delivery.user_key,
                    delivery.body,
                    *where,
                )
                journal.statements.append((RETRY_FROM_CHUNK, statement))
                journal.count(lane.id, RETRYING, 1)
                self._memory.retry_bytes += size
                self._plan(lane, row, journal)
            case Release():
                lane.leased -= 1
                lane.fresh += 1
                share.todo |= bit
                lane.put_back(share)
                self._on_work(lane)
                return
        self._finish(share, bit, journal)

    def _decide_retry(
        self, held: Held, index: int, verdict: Verdict, journal: Journal, now: float
    ) -> None:
        lane, delivery, entry = held.lane, held.deliveries[index], held.entries[index]
        row_id, size = entry[1], len(delivery.body)
        lane.leased_retries.discard(row_id)
        match verdict:
            case Delivered():
                self._count_delivered(lane, ON_RETRY, 1, size, journal)
                self._note_end(lane, row_id, Outcome.DELIVERED, delivery, journal)
            case Unsupported():
                self._count_delivered(lane, UNSUPPORTED, 1, size, journal)
                self._note_end(lane, row_id, Outcome.UNSUPPORTED, delivery, journal)
            case Bury():
                first_at = delivery.first_attempt_at or held.leased_at
                self._bury(
                    held, delivery, verdict, LETTER_FROM_RETRY, (row_id,), first_at, journal, now
                )
            case Postpone():
                lane.leased -= 1
                row = RetryRow(
                    row_id,
                    lane.id,
                    now + max(0.0, verdict.delay_s),
                    verdict.alone,
                    delivery.attempt,
                    delivery.first_attempt_at or held.leased_at,
                    delivery,
                )
                journal.statements.append(
                    (
                        RETRY_AGAIN,
                        (
                            row.next_at,
                            row.alone,
                            row.attempts,
                            row.first_at,
                            verdict.error,
                            row_id,
                        ),
                    )
                )
                self._plan(lane, row, journal)
                return
            case Release():
                lane.leased -= 1
                lane.retrying += 1
                self._memory.retries_loaded += 1
                heappush(lane.due, entry)
                self._on_work(lane)
                return
        journal.statements.append((END_RETRY, (row_id,)))
        journal.ended_retries.append(row_id)
        self._memory.ended.add(row_id)
        journal.count(lane.id, RETRYING, -1)
        self._memory.retry_bytes -= size

    def _plan(self, lane: Lane, row: RetryRow, journal: Journal) -> None:
        lane.retrying += 1
        journal.retries[row.id] = row
        self._memory.unwritten[row.id] = row
        self._memory.plan(lane, (row.next_at, row.id, row.alone, row.delivery.received_at))
        self._on_work(lane)

    def _note_end(
        self, lane: Lane, row_id: int, outcome: Outcome, delivery: Delivery, journal: Journal
    ) -> None:
        if self._keeps_history:
            journal.statements.append(
                (
                    ENDED_ON_RETRY,
                    (lane.source, history_size(1), outcome.value, delivery.attempt, row_id),
                )
            )
            journal.history_bytes += history_size(1)

    def _bury(
        self,
        held: Held,
        delivery: Delivery,
        verdict: Bury,
        statement: str,
        where: tuple[int, ...],
        first_at: float,
        journal: Journal,
        now: float,
    ) -> None:
        lane, size = held.lane, len(delivery.body)
        letter = (
            self._next_row_id(),
            lane.id,
            verdict.outcome.value,
            delivery.attempt,
            first_at,
            now,
            delivery.received_at,
            size,
            verdict.exit_id,
            message_id_of(delivery.body),
            verdict.error,
            delivery.user_key,
            delivery.body,
            *where,
        )
        journal.statements.append((statement, letter))
        counter = QUARANTINED if verdict.outcome is Outcome.QUARANTINED else FAILED
        self._count_delivered(lane, counter, 1, size, journal)
        journal.count(lane.id, LETTERS, 1)
        journal.count(lane.id, LETTER_BYTES, size + LETTER_OVERHEAD)


_DELIVERED = Delivered()


def _pick(
    share: Share,
    known: list[Delivery],
    max_events: int,
    max_bytes: int,
    exclude_users: frozenset[bytes],
    *,
    is_first: bool,
) -> tuple[Sequence[int], list[Delivery], bool]:
    """Positions and deliveries of a share that fit, and whether there is room for more."""
    todo, chunk = share.todo, share.chunk
    if todo.bit_count() <= max_events and chunk.size <= max_bytes and not exclude_users:
        if todo == full_mask(chunk.count):
            return range(chunk.count), known, True
        positions = bits_of(todo)
        return positions, [known[position] for position in positions], True
    picked: list[int] = []
    taken: list[Delivery] = []
    size = 0
    for position in bits_of(todo):
        delivery = known[position]
        if delivery.user_key in exclude_users:
            continue
        size += len(delivery.body)
        if len(taken) == max_events or (size > max_bytes and (taken or not is_first)):
            return picked, taken, False
        picked.append(position)
        taken.append(delivery)
    return picked, taken, True
