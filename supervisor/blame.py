"""From the end of a worker and the batches that it had to one record of who is to blame.

Pure but for reading the message ids out of the events. What the marker page
says is a hint: it decides whose name is on the record, never alone what
becomes of an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from supervisor.exits import MAX_EVENTS, ExitRecord, Usage
from supervisor.posts import Post
from supervisor.verdicts import Run
from supervisor.workers import Exit, Worker

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
    return ExitRecord(
        id=_exit_id(pool, worker, end),
        at=end.at,
        pool=pool,
        worker=worker.label,
        pid=worker.pid,
        reason=end.reason.value,
        detail=end.detail,
        connection=blamed,
        destination=None if lane is None else lane.destination,
        connections=tuple(connections),
        event=event,
        events=tuple(events),
        unreported=sum(run.unreported for run in batches),
        uptime_s=round(worker.uptime_s, 3),
        usage=None if end.usage is None else Usage.of(end.usage),
        snapshot=post.snapshot,
    )


def declarer_record(
    pool: str, worker: Worker, end: Exit, *, destination: str | None, connection: str | None
) -> ExitRecord:
    """The record of a worker that told what destinations are, and had no events.

    `destination` was being imported, or the settings of `connection` checked, when it ended.
    """
    return ExitRecord(
        id=_exit_id(pool, worker, end),
        at=end.at,
        pool=pool,
        worker=worker.label,
        pid=worker.pid,
        reason=end.reason.value,
        detail=end.detail,
        connection=connection,
        destination=destination,
        connections=(),
        event=None,
        events=(),
        unreported=0,
        uptime_s=round(worker.uptime_s, 3),
        usage=None if end.usage is None else Usage.of(end.usage),
    )


def _exit_id(pool: str, worker: Worker, end: Exit) -> str:
    """Sorts by time, can stand in a path, and is unique: a number is given once in a run."""
    when = datetime.fromtimestamp(end.at, UTC)
    return f"{when:%Y%m%dT%H%M%S}.{when.microsecond // 1000:03d}Z-{pool}-{worker.number}"


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
