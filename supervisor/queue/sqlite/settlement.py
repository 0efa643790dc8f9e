"""What becomes of leased deliveries: the verdicts, in memory and for the journal.

Owns what each verdict means for fresh deliveries and for retries, and the
statements that write it down. Must not do I/O or know who holds a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from supervisor.core.scheduling.user_order import UserOrder
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
from supervisor.queue.sqlite.active_lease import ActiveLease
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import ChunkProgress
from supervisor.queue.sqlite.counters import (
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    FAILED,
    FIRST_TRY,
    ON_RETRY,
    QUARANTINED,
    RETRYING,
    UNSUPPORTED,
)
from supervisor.queue.sqlite.dead_letters import DEAD_LETTER_OVERHEAD, message_id_of
from supervisor.queue.sqlite.journal import (
    DEAD_LETTER_FROM_CHUNK,
    DEAD_LETTER_FROM_RETRY,
    END_RETRY,
    ENDED_ON_RETRY,
    RETRY_AGAIN,
    RETRY_FROM_CHUNK,
    Journal,
    UnwrittenRetry,
    history_size,
)
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.schema import PARKED

#: Why deliveries of a connection end that has left the config.
GONE = "connection is no longer in the config"


class LeaseSettlement:
    """`next_row_id` numbers retries and dead letters; `on_work` hears of what came back.

    `on_called` hears of lanes in which the next event of a user is to be fetched.
    """

    def __init__(
        self,
        memory: QueueMemory,
        next_row_id: Callable[[], int],
        on_work: Callable[[ConnectionBacklog], None],
        on_called: Callable[[ConnectionBacklog], None],
        *,
        keeps_history: bool,
    ) -> None:
        self._memory = memory
        self._next_row_id = next_row_id
        self._on_work = on_work
        self._on_called = on_called
        self._keeps_history = keeps_history

    def delivered(self, lease: ActiveLease, indices: Sequence[int], journal: Journal) -> None:
        """Fresh deliveries have arrived; those that have a verdict already keep it."""
        if lease.decide_all(indices):
            for segment in lease.segments:
                self._memory.settle(segment.progress, segment.mask, journal)
            self._fresh_ended(lease.backlog, FIRST_TRY, len(indices), lease.size_bytes, journal)
            return
        masks: dict[ChunkProgress, int] = {}
        n = size = 0
        segment = lease.segments[0]
        for index in indices:
            if lease.decide(index):
                if not 0 <= index - segment.base < len(segment.positions):
                    segment = lease.segment_of(index)
                bit = 1 << segment.positions[index - segment.base]
                masks[segment.progress] = masks.get(segment.progress, 0) | bit
                size += len(lease.deliveries[index].body)
                n += 1
        for progress, mask in masks.items():
            self._memory.settle(progress, mask, journal)
        self._fresh_ended(lease.backlog, FIRST_TRY, n, size, journal)

    @staticmethod
    def _fresh_ended(
        backlog: ConnectionBacklog, counter: int, n: int, size: int, journal: Journal
    ) -> None:
        backlog.settled(n)
        journal.count_ended(backlog.id, counter, n, size)

    def park(
        self,
        backlog: ConnectionBacklog,
        order: UserOrder,
        progress: ChunkProgress,
        position: int,
        delivery: Delivery,
        journal: Journal,
        now: float,
    ) -> None:
        """A fresh delivery waits behind another one of its user: it pins no chunk meanwhile."""
        bit = 1 << position
        size = len(delivery.body)
        row = (
            self._next_row_id(),
            backlog.id,
            PARKED,
            False,
            delivery.received_at,
            size,
            0,
            None,
            "",
        )
        where = (position, progress.chunk.id)
        journal.statements.append(
            (RETRY_FROM_CHUNK, (*row, delivery.user_key, delivery.body, *where))
        )
        journal.count(backlog.id, RETRYING, 1)
        backlog.park_fresh(progress, bit)
        self._memory.usage.retry_came(size)
        order.put_aside(delivery.user_key, now)
        self._memory.settle(progress, bit, journal, moved=bit)

    def decide(
        self, lease: ActiveLease, index: int, verdict: Verdict, journal: Journal, now: float
    ) -> None:
        """What becomes of one delivery, which the lease counts as decided already."""
        backlog = lease.backlog
        if backlog.spec is None and isinstance(verdict, Postpone | Release):
            reason = f"{GONE}; last error: {verdict.error}" if type(verdict) is Postpone else GONE
            verdict = Bury(Outcome.FAILED, reason)
        if lease.segments:
            segment = lease.segment_of(index)
            position = segment.positions[index - segment.base]
            self._decide_fresh(lease, index, segment.progress, position, verdict, journal, now)
        else:
            self._decide_retry(lease, index, verdict, journal, now)
        if backlog.order is not None:
            self._follow(backlog, backlog.order, lease, index, verdict, now)

    def _follow(
        self,
        backlog: ConnectionBacklog,
        order: UserOrder,
        lease: ActiveLease,
        index: int,
        verdict: Verdict,
        now: float,
    ) -> None:
        """What a verdict means for the other events of its user."""
        user = lease.deliveries[index].user_key
        match verdict:
            case Delivered() | Unsupported() | Bury():
                if lease.segments:
                    order.ended(user, now)
                else:
                    order.head_ended(user, now)
            case Postpone():
                if lease.segments:
                    order.failed(user, now)
            case Release():
                if lease.segments:
                    order.ended(user, now)
        if order.called:
            self._on_called(backlog)
        if backlog.fresh:
            self._on_work(backlog)

    def _decide_fresh(
        self,
        lease: ActiveLease,
        index: int,
        progress: ChunkProgress,
        position: int,
        verdict: Verdict,
        journal: Journal,
        now: float,
    ) -> None:
        backlog, delivery, bit = lease.backlog, lease.deliveries[index], 1 << position
        size = len(delivery.body)
        where = (position, progress.chunk.id)
        settle = self._memory.settle
        match verdict:
            case Delivered():
                settle(progress, bit, journal)
                self._fresh_ended(backlog, FIRST_TRY, 1, size, journal)
            case Unsupported():
                settle(progress, bit, journal, unsupported=bit)
                self._fresh_ended(backlog, UNSUPPORTED, 1, size, journal)
            case Bury():
                self._write_dead_letter(
                    lease,
                    delivery,
                    verdict,
                    DEAD_LETTER_FROM_CHUNK,
                    where,
                    lease.leased_at,
                    journal,
                    now,
                )
                settle(progress, bit, journal, moved=bit)
                self._fresh_ended(backlog, _counter_of(verdict), 1, size, journal)
            case Postpone():
                row = UnwrittenRetry(
                    self._next_row_id(),
                    now + max(0.0, verdict.delay_s),
                    verdict.alone,
                    delivery.attempt,
                    lease.leased_at,
                    delivery,
                )
                statement = (
                    row.id,
                    backlog.id,
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
                journal.count(backlog.id, RETRYING, 1)
                self._memory.usage.retry_came(size)
                settle(progress, bit, journal, moved=bit)
                self._memory.postponed(backlog, row, journal)
                self._on_work(backlog)
            case Release():
                backlog.return_fresh(progress, bit)
                self._on_work(backlog)

    def _decide_retry(
        self, lease: ActiveLease, index: int, verdict: Verdict, journal: Journal, now: float
    ) -> None:
        backlog, delivery, entry = lease.backlog, lease.deliveries[index], lease.entries[index]
        row_id, size = entry[1], len(delivery.body)
        match verdict:
            case Delivered():
                # What was parked, and not tried before, is a retry by its place only.
                counter = FIRST_TRY if delivery.attempt == 1 else ON_RETRY
                self._note_end(backlog, row_id, Outcome.DELIVERED, delivery, journal)
                self._retry_ended(backlog, row_id, counter, size, journal)
            case Unsupported():
                self._note_end(backlog, row_id, Outcome.UNSUPPORTED, delivery, journal)
                self._retry_ended(backlog, row_id, UNSUPPORTED, size, journal)
            case Bury():
                first_at = delivery.first_attempt_at or lease.leased_at
                self._write_dead_letter(
                    lease,
                    delivery,
                    verdict,
                    DEAD_LETTER_FROM_RETRY,
                    (row_id,),
                    first_at,
                    journal,
                    now,
                )
                self._retry_ended(backlog, row_id, _counter_of(verdict), size, journal)
            case Postpone():
                row = UnwrittenRetry(
                    row_id,
                    now + max(0.0, verdict.delay_s),
                    verdict.alone,
                    delivery.attempt,
                    delivery.first_attempt_at or lease.leased_at,
                    delivery,
                )
                statement = (
                    row.next_at,
                    row.alone,
                    row.attempts,
                    row.first_at,
                    verdict.error,
                    row_id,
                )
                journal.statements.append((RETRY_AGAIN, statement))
                self._memory.postponed(backlog, row, journal)
                self._on_work(backlog)
            case Release():
                backlog.return_retry(entry)
                self._on_work(backlog)

    def _retry_ended(
        self, backlog: ConnectionBacklog, row_id: int, counter: int, size: int, journal: Journal
    ) -> None:
        backlog.retry_settled(row_id)
        self._memory.retry_ended(row_id, size, journal)
        journal.statements.append((END_RETRY, (row_id,)))
        journal.count(backlog.id, RETRYING, -1)
        journal.count_ended(backlog.id, counter, 1, size)

    def _note_end(
        self,
        backlog: ConnectionBacklog,
        row_id: int,
        outcome: Outcome,
        delivery: Delivery,
        journal: Journal,
    ) -> None:
        if self._keeps_history:
            journal.statements.append(
                (
                    ENDED_ON_RETRY,
                    (backlog.source, history_size(1), outcome.value, delivery.attempt, row_id),
                )
            )
            journal.history_bytes += history_size(1)

    def _write_dead_letter(
        self,
        lease: ActiveLease,
        delivery: Delivery,
        verdict: Bury,
        statement: str,
        where: tuple[int, ...],
        first_at: float,
        journal: Journal,
        now: float,
    ) -> None:
        backlog, size = lease.backlog, len(delivery.body)
        columns = (
            self._next_row_id(),
            backlog.id,
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
        journal.statements.append((statement, columns))
        journal.count(backlog.id, DEAD_LETTERS, 1)
        journal.count(backlog.id, DEAD_LETTER_BYTES, size + DEAD_LETTER_OVERHEAD)


def _counter_of(verdict: Bury) -> int:
    return QUARANTINED if verdict.outcome is Outcome.QUARANTINED else FAILED
