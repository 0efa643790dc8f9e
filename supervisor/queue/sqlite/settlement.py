"""What becomes of leased deliveries: the verdicts, in memory and for the journal.

Owns what each verdict means for fresh deliveries and for retries, and the
statements that write it down. Must not do I/O or know who holds a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappush

from supervisor.core.ordering import UserOrder
from supervisor.queue import (
    Bury,
    Delivered,
    Delivery,
    Outcome,
    Postpone,
    Release,
    Unsupported,
    Verdict,
)
from supervisor.queue.sqlite.backlog import Held, Lane, RetryRow, Share
from supervisor.queue.sqlite.dead_letters import LETTER_OVERHEAD, message_id_of
from supervisor.queue.sqlite.journal import (
    END_RETRY,
    ENDED_ON_RETRY,
    LETTER_FROM_CHUNK,
    LETTER_FROM_RETRY,
    RETRY_AGAIN,
    RETRY_FROM_CHUNK,
    Journal,
    history_size,
)
from supervisor.queue.sqlite.memory import Memory
from supervisor.queue.sqlite.schema import (
    ASIDE,
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


class LeaseSettlement:
    """`next_row_id` numbers retries and dead letters; `on_work` hears of what came back.

    `on_called` hears of lanes in which the next event of a user is to be fetched.
    """

    def __init__(
        self,
        memory: Memory,
        next_row_id: Callable[[], int],
        on_work: Callable[[Lane], None],
        on_called: Callable[[Lane], None],
        *,
        keeps_history: bool,
    ) -> None:
        self._memory = memory
        self._next_row_id = next_row_id
        self._on_work = on_work
        self._on_called = on_called
        self._keeps_history = keeps_history

    def delivered(self, held: Held, indices: Sequence[int], journal: Journal) -> None:
        """Fresh deliveries have arrived; those that have a verdict already keep it."""
        undecided = held.undecided
        n = len(undecided)
        if undecided.count(1) == n == len(indices) == len(set(indices)):
            held.undecided = bytearray(n)
            for segment in held.segments:
                self._finish(segment.share, segment.mask, journal)
            self._count_delivered(held.lane, FIRST_TRY, n, held.size_bytes, journal)
            return
        masks: dict[Share, int] = {}
        n = size = 0
        segment = held.segments[0]
        for index in indices:
            if undecided[index]:
                undecided[index] = 0
                if not 0 <= index - segment.base < len(segment.positions):
                    segment = held.segment_of(index)
                bit = 1 << segment.positions[index - segment.base]
                masks[segment.share] = masks.get(segment.share, 0) | bit
                size += len(held.deliveries[index].body)
                n += 1
        for share, mask in masks.items():
            self._finish(share, mask, journal)
        self._count_delivered(held.lane, FIRST_TRY, n, size, journal)

    def _count_delivered(
        self, lane: Lane, counter: int, n: int, size: int, journal: Journal
    ) -> None:
        lane.leased -= n
        journal.count(lane.id, counter, n)
        journal.count(lane.id, PENDING, -n)
        journal.count(lane.id, PENDING_BYTES, -size)

    def put_aside(
        self,
        lane: Lane,
        share: Share,
        position: int,
        delivery: Delivery,
        journal: Journal,
        now: float,
    ) -> None:
        """A fresh delivery waits behind another one of its user: it pins no chunk meanwhile."""
        assert lane.order is not None
        share.moved |= 1 << position
        lane.fresh -= 1
        lane.aside += 1
        size = len(delivery.body)
        row = (self._next_row_id(), lane.id, ASIDE, False, delivery.received_at, size, 0, None, "")
        where = (position, share.chunk.id)
        journal.statements.append(
            (RETRY_FROM_CHUNK, (*row, delivery.user_key, delivery.body, *where))
        )
        journal.count(lane.id, RETRYING, 1)
        self._memory.retry_bytes += size
        lane.order.put_aside(delivery.user_key, now)
        self._finish(share, 1 << position, journal)

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

    def decide(
        self, held: Held, index: int, verdict: Verdict, journal: Journal, now: float
    ) -> None:
        """One delivery that has no verdict yet."""
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
        if lane.order is not None:
            self._follow(lane, lane.order, held, index, verdict, now)

    def _follow(
        self, lane: Lane, order: UserOrder, held: Held, index: int, verdict: Verdict, now: float
    ) -> None:
        """What a verdict means for the other events of its user."""
        user = held.deliveries[index].user_key
        match verdict:
            case Delivered() | Unsupported() | Bury():
                if held.segments:
                    order.ended(user, now)
                else:
                    order.head_ended(user, now)
            case Postpone():
                if held.segments:
                    order.failed(user, now)
            case Release():
                if held.segments:
                    order.ended(user, now)
        if order.called:
            self._on_called(lane)
        if lane.fresh:
            self._on_work(lane)

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
                # What was put aside, and not tried before, is a retry by its place only.
                counter = FIRST_TRY if delivery.attempt == 1 else ON_RETRY
                self._count_delivered(lane, counter, 1, size, journal)
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
