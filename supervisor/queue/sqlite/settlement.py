"""What becomes of leased deliveries: the dispositions, in memory and for the journal.

Owns what each disposition means for fresh deliveries and for retries, and the
statements that write it down. Must not do I/O, or know when a lease is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from supervisor.core.scheduling.user_order import UserOrder
from supervisor.queue import (
    DeadLettered,
    Delivered,
    Delivery,
    Disposition,
    Outcome,
    Postpone,
    Release,
    Unsupported,
)
from supervisor.queue.sqlite.active_lease import ActiveLease
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import ChunkProgress
from supervisor.queue.sqlite.counters import (
    DEAD_LETTER_BYTES,
    DEAD_LETTERS,
    FIRST_TRY,
    RETRYING,
    UNSUPPORTED,
    ended_at,
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
)
from supervisor.queue.sqlite.ledger import history_size
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.schema import PARKED

#: Why deliveries of a connection end that has left the config.
GONE = "connection is no longer in the config"


class LeaseSettlement:
    """`next_row_id` numbers retries and dead letters; `on_work` hears of what came back.

    `on_promotion` hears of connections in which the next event of a user is to be fetched.
    """

    def __init__(
        self,
        memory: QueueMemory,
        next_row_id: Callable[[], int],
        on_work: Callable[[ConnectionBacklog], None],
        on_promotion: Callable[[ConnectionBacklog], None],
        *,
        keeps_history: bool,
    ) -> None:
        self._memory = memory
        self._next_row_id = next_row_id
        self._on_work = on_work
        self._on_promotion = on_promotion
        self._keeps_history = keeps_history

    def delivered(
        self, lease: ActiveLease, indices: Sequence[int], journal: Journal, now: float
    ) -> None:
        """Fresh deliveries have arrived; those that have a disposition already keep it."""
        ended = indices
        if lease.decide_all(indices):
            for segment in lease.segments:
                self._memory.settle(segment.progress, segment.mask, journal)
            self._fresh_ended(lease.backlog, FIRST_TRY, len(indices), lease.size_bytes, journal)
        else:
            ended = [index for index in indices if lease.decide(index)]
            size = sum(len(lease.deliveries[index].body) for index in ended)
            for progress, mask in _masks_of(lease, ended).items():
                self._memory.settle(progress, mask, journal)
            self._fresh_ended(lease.backlog, FIRST_TRY, len(ended), size, journal)
        order = lease.backlog.order
        if order is not None and ended:
            for index in ended:
                order.ended(lease.deliveries[index].user_key, now)
            self._order_moved(lease.backlog, order)

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
        order.park(delivery.user_key, now)
        self._memory.settle(progress, bit, journal, moved=bit)

    def decide(
        self, lease: ActiveLease, index: int, disposition: Disposition, journal: Journal, now: float
    ) -> None:
        """What becomes of one delivery, which the lease counts as decided already."""
        backlog = lease.backlog
        if backlog.spec is None and isinstance(disposition, Postpone | Release):
            reason = (
                f"{GONE}; last error: {disposition.error}"
                if type(disposition) is Postpone
                else GONE
            )
            disposition = DeadLettered(Outcome.FAILED, reason)
        if lease.segments:
            segment = lease.segment_of(index)
            position = segment.positions[index - segment.base]
            self._decide_fresh(lease, index, segment.progress, position, disposition, journal, now)
        else:
            self._decide_retry(lease, index, disposition, journal, now)
        if backlog.order is not None:
            self._follow(backlog, backlog.order, lease, index, disposition, now)

    def _follow(
        self,
        backlog: ConnectionBacklog,
        order: UserOrder,
        lease: ActiveLease,
        index: int,
        disposition: Disposition,
        now: float,
    ) -> None:
        """What a disposition means for the other events of its user."""
        user = lease.deliveries[index].user_key
        match disposition:
            case Delivered() | Unsupported() | DeadLettered():
                if lease.segments:
                    order.ended(user, now)
                else:
                    order.barrier_ended(user, now)
            case Postpone():
                if lease.segments:
                    order.failed(user, now)
            case Release():
                if lease.segments:
                    order.ended(user, now)
        self._order_moved(backlog, order)

    def _order_moved(self, backlog: ConnectionBacklog, order: UserOrder) -> None:
        if order.promoted:
            self._on_promotion(backlog)
        if backlog.fresh:
            self._on_work(backlog)

    def _decide_fresh(
        self,
        lease: ActiveLease,
        index: int,
        progress: ChunkProgress,
        position: int,
        disposition: Disposition,
        journal: Journal,
        now: float,
    ) -> None:
        backlog, delivery, bit = lease.backlog, lease.deliveries[index], 1 << position
        size = len(delivery.body)
        where = (position, progress.chunk.id)
        settle = self._memory.settle
        match disposition:
            case Delivered():
                settle(progress, bit, journal)
                self._fresh_ended(backlog, FIRST_TRY, 1, size, journal)
            case Unsupported():
                settle(progress, bit, journal, unsupported=bit)
                self._fresh_ended(backlog, UNSUPPORTED, 1, size, journal)
            case DeadLettered():
                self._write_dead_letter(
                    lease,
                    delivery,
                    disposition,
                    DEAD_LETTER_FROM_CHUNK,
                    where,
                    lease.leased_at,
                    journal,
                    now,
                )
                settle(progress, bit, journal, moved=bit)
                self._fresh_ended(
                    backlog, ended_at(disposition.outcome, delivery.attempt), 1, size, journal
                )
            case Postpone():
                row = UnwrittenRetry(
                    self._next_row_id(),
                    now + max(0.0, disposition.delay_s),
                    disposition.alone,
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
                    disposition.error,
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
        self, lease: ActiveLease, index: int, disposition: Disposition, journal: Journal, now: float
    ) -> None:
        backlog, delivery, entry = lease.backlog, lease.deliveries[index], lease.entries[index]
        row_id, size = entry[1], len(delivery.body)
        match disposition:
            case Delivered():
                # What was parked, and not tried before, is a retry by its place only.
                counter = ended_at(Outcome.DELIVERED, delivery.attempt)
                self._note_end(backlog, row_id, Outcome.DELIVERED, delivery, journal)
                self._retry_ended(backlog, row_id, counter, size, journal)
            case Unsupported():
                self._note_end(backlog, row_id, Outcome.UNSUPPORTED, delivery, journal)
                self._retry_ended(backlog, row_id, UNSUPPORTED, size, journal)
            case DeadLettered():
                first_at = delivery.first_attempt_at or lease.leased_at
                self._write_dead_letter(
                    lease,
                    delivery,
                    disposition,
                    DEAD_LETTER_FROM_RETRY,
                    (row_id,),
                    first_at,
                    journal,
                    now,
                )
                self._retry_ended(
                    backlog, row_id, ended_at(disposition.outcome, delivery.attempt), size, journal
                )
            case Postpone():
                row = UnwrittenRetry(
                    row_id,
                    now + max(0.0, disposition.delay_s),
                    disposition.alone,
                    delivery.attempt,
                    delivery.first_attempt_at or lease.leased_at,
                    delivery,
                )
                statement = (
                    row.next_at,
                    row.alone,
                    row.attempts,
                    row.first_at,
                    disposition.error,
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
        disposition: DeadLettered,
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
            disposition.outcome.value,
            delivery.attempt,
            first_at,
            now,
            delivery.received_at,
            size,
            disposition.exit_id,
            message_id_of(delivery.body),
            disposition.error,
            delivery.user_key,
            delivery.body,
            *where,
        )
        journal.statements.append((statement, columns))
        journal.count(backlog.id, DEAD_LETTERS, 1)
        journal.count(backlog.id, DEAD_LETTER_BYTES, size + DEAD_LETTER_OVERHEAD)


def _masks_of(lease: ActiveLease, indices: Sequence[int]) -> dict[ChunkProgress, int]:
    """Events of a fresh lease, by the progress that they belong to."""
    masks: dict[ChunkProgress, int] = {}
    segment = lease.segments[0]
    for index in indices:
        if not 0 <= index - segment.base < len(segment.positions):
            segment = lease.segment_of(index)
        bit = 1 << segment.positions[index - segment.base]
        masks[segment.progress] = masks.get(segment.progress, 0) | bit
    return masks
