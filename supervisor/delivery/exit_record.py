"""From the end of a worker and the batches that it had to one record that names the one to blame.

Pure but for reading the message ids out of the events. What the marker page
says is a hint: it decides whose name is on the record, never alone what
becomes of an event.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec

from supervisor.core.effects import ExitReason
from supervisor.core.isolation.effects import BatchFate
from supervisor.delivery.records import InflightBatch, PoolWorker, ago
from supervisor.diagnostics.exit_record import worker_exit
from supervisor.diagnostics.exits import MAX_BATCHES, MAX_EVENTS, ExitRecord, HeldBatch
from supervisor.workers.handle import Exit

#: Longest message id in a record, in characters.
_MAX_ID = 200


class _Named(msgspec.Struct, frozen=True):
    messageId: str = ""


def exit_record(
    pool: str,
    pool_worker: PoolWorker,
    owner: str | None,
    end: Exit,
    *,
    is_outsiders: bool = False,
) -> ExitRecord:
    """The record of a worker; it may have reported on some of the batches that it had.

    `owner` is the connection that it was dedicated to. `is_outsiders`: it was killed from outside,
    and what ran then has nothing to do with it.
    """
    worker, batches = pool_worker.worker, list(pool_worker.batches.values())
    connections = sorted({batch.connection for batch in batches})
    marked = marked_event(end, batches)
    # Any code in it may have broken the protocol, long after its batch: who runs shows nothing.
    is_breach = end.reason is ExitReason.PROTOCOL
    blamed = None if is_breach else end.connection
    if blamed is None:
        # Who has a batch at the end may have come when it was done: who ever had one there.
        may_be = sorted(pool_worker.configured) if end.is_anybodys or is_breach else connections
        blamed = may_be[0] if len(may_be) == 1 else owner
    if is_outsiders:
        blamed = None
    pool_connection = None if blamed is None else pool_worker.configured.get(blamed)
    event = None if marked is None else _message_id(*marked)
    events = [] if event is None else [event]
    for batch in batches:
        for index, reported in enumerate(batch.reported):
            if len(events) < MAX_EVENTS and not reported and marked != (batch, index):
                events.append(_message_id(batch, index))
    return worker_exit(
        pool,
        worker,
        end,
        connection=blamed,
        destination=None if pool_connection is None else pool_connection.destination,
        connections=tuple(connections),
        event=event,
        events=tuple(events),
        unreported=sum(batch.unreported for batch in batches),
        batches=tuple(map(_held, batches[:MAX_BATCHES])),
        more_batches=max(0, len(batches) - MAX_BATCHES),
        snapshot=pool_worker.snapshot,
        open_connections=pool_worker.seen.open_now,
        open_curve=ago(pool_worker.seen.open, time.monotonic()),
    )


def _held(batch: InflightBatch) -> HeldBatch:
    """A batch with what its worker has told of it; the rest is not decided yet."""
    told = len(batch.reported) - batch.unreported
    return HeldBatch(
        batch=batch.id,
        connection=batch.connection,
        events=len(batch.reported),
        delivered=batch.delivered,
        failed=batch.failed,
        retried=batch.retried,
        given_back=told - batch.delivered - batch.failed - batch.retried,
    )


def with_fates(fates: Iterable[BatchFate], batches: Sequence[HeldBatch]) -> tuple[HeldBatch, ...]:
    """These batches with what was decided of each; all that is decided was told at one death."""
    known = {fate.batch: fate for fate in fates}
    return tuple(
        held
        if (fate := known.get(held.batch)) is None
        else msgspec.structs.replace(
            held,
            is_probe=fate.is_probe,
            sent_again=fate.sent_again,
            tried_alone=fate.tried_alone,
            tried_together=fate.tried_together,
            postponed=fate.postponed,
            quarantined=fate.quarantined,
        )
        for held in batches
    )


def marked_event(end: Exit, batches: Sequence[InflightBatch]) -> tuple[InflightBatch, int] | None:
    """The batch and the index in it that the step worked on which ran to the end, where known."""
    mark = end.mark
    if mark is None or not mark.is_running or mark.event is None:
        return None
    for batch in batches:
        if (
            batch.connection == mark.connection
            and batch.id & 0xFFFFFFFF == mark.batch
            and mark.event < len(batch.reported)
        ):
            return batch, mark.event
    return None


def _message_id(batch: InflightBatch, index: int) -> str:
    try:
        found = msgspec.json.decode(batch.lease.deliveries[index].body, type=_Named).messageId
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # the tracking API takes no such event: a record is no place to fail over one
    return found[:_MAX_ID]
