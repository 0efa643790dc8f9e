"""From the end of a worker and the batches that it had to one record of who is to blame.

Pure but for reading the message ids out of the events. What the marker page
says is a hint: it decides whose name is on the record, never alone what
becomes of an event.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from supervisor.delivery.records import Post
from supervisor.delivery.settlement import Run
from supervisor.diagnostics.exit_record import worker_exit
from supervisor.diagnostics.exits import MAX_EVENTS, ExitRecord
from supervisor.workers.process import Exit

#: Longest message id in a record, in characters.
_MAX_ID = 200


class _Named(msgspec.Struct, frozen=True):
    messageId: str = ""


def exit_record(pool: str, post: Post, end: Exit) -> ExitRecord:
    """The record of a worker; it may have reported on some of the batches that it had."""
    worker, batches = post.worker, list(post.batches.values())
    connections = sorted({run.connection for run in batches})
    marked = marked_event(end, batches)
    blamed = end.connection
    if blamed is None:
        blamed = connections[0] if len(connections) == 1 else post.only
    lane = None if blamed is None else post.configured.get(blamed)
    event = None if marked is None else _message_id(*marked)
    events = [] if event is None else [event]
    for run in batches:
        for index, told in enumerate(run.told):
            if len(events) < MAX_EVENTS and not told and marked != (run, index):
                events.append(_message_id(run, index))
    return worker_exit(
        pool,
        worker,
        end,
        connection=blamed,
        destination=None if lane is None else lane.destination,
        connections=tuple(connections),
        event=event,
        events=tuple(events),
        unreported=sum(run.unreported for run in batches),
        snapshot=post.snapshot,
    )


def marked_event(end: Exit, batches: Sequence[Run]) -> tuple[Run, int] | None:
    """The batch and the index in it that the step worked on which ran to the end, where known."""
    mark = end.mark
    if mark is None or not mark.is_running or mark.event is None:
        return None
    for run in batches:
        if (
            run.connection == mark.connection
            and run.id & 0xFFFFFFFF == mark.batch
            and mark.event < len(run.told)
        ):
            return run, mark.event
    return None


def _message_id(run: Run, index: int) -> str:
    try:
        found = msgspec.json.decode(run.lease.deliveries[index].body, type=_Named).messageId
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # the tracking API takes no such event: a record is no place to fail over one
    return found[:_MAX_ID]
