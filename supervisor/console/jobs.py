"""Replay and drop of all dead letters that match a filter, as jobs.

Owns how a job goes on: its pace, its progress, its end, and that each letter is met once, over
restarts as well. A job is bound by the moment at which it began: what fails anew since then is not
meant. Must not know how a letter is replayed: the queue takes the steps, each a transaction.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from supervisor.admin import viewers
from supervisor.admin.answers import json_answer, name_of
from supervisor.admin.dead_letters import FILTERS, Filter
from supervisor.admin.parameters import BadRequest, read_parameters
from supervisor.admin.table import Deed, Right, Route, caller_of, say_done
from supervisor.errors import Busy, NotFound, Refused
from supervisor.queue import (
    FIRST_DEAD_LETTER,
    DeadLetterFilter,
    DeadLettersSwept,
    Queue,
    QueueUnavailable,
    Selection,
)
from supervisor.runtime.rfc3339 import rfc3339
from supervisor.state.jobs import JobRecord, JobStore

_log = structlog.get_logger(__name__)

#: Jobs that are kept, those that ended with them; the oldest ended ones go first.
MOST_KEPT = 50
#: Letters that one step takes at most, and how long one takes that has a pace, in seconds.
STEP_LETTERS, STEP_S = 500, 0.25
#: Seconds that a request waits for the count of a new job, or for the end of one it cancels.
WAIT_S = 5.0

Kind = Literal["replay", "drop"]


class AskedJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /jobs`; `per_s` letters a second at most."""

    kind: Kind
    where: Filter
    per_s: Annotated[float, Meta(ge=0.1, le=1_000_000)] | None = None


@dataclass(slots=True)
class _RunningJob:
    record: JobRecord
    task: asyncio.Task[None] | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    counted: asyncio.Event = field(default_factory=asyncio.Event)


class Jobs:
    """All jobs of a service: one of a kind runs at a time."""

    def __init__(self, queue: Queue, store: JobStore, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._store = store
        self._clock = clock
        self._records: dict[str, JobRecord] = {}
        self._running: dict[str, _RunningJob] = {}
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Go on with what an earlier run has left."""
        for record in await asyncio.to_thread(self._store.read):
            self._records[record.id] = record
            if record.is_running:
                record.resumed += 1
                record.not_done = 0
                self._run(record)
                _log.info("job_goes_on", id=record.id, kind=record.kind, matched=record.matched)

    async def close(self) -> None:
        """Stop after the steps under way; the next run goes on with what has not ended."""
        tasks = [job.task for job in self._running.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def all(self) -> list[JobRecord]:
        """Those that run and those that ended, the newest first."""
        return sorted(self._records.values(), key=lambda record: record.started_at, reverse=True)

    def get(self, job_id: str) -> JobRecord:
        """One of them. Raises NotFound."""
        record = self._records.get(job_id)
        if record is None:
            raise NotFound(f"there is no job {job_id[:100]!r}; GET /jobs lists those that are kept")
        return record

    async def begin(self, asked: AskedJob, by: str) -> JobRecord:
        """Begin a job. Raises BadRequest, Busy where one of its kind runs, or Refused.

        It is on disk when this returns, and most often counted.
        """
        asked.where.where()  # raises for what is no filter
        if asked.where.dry_run:
            raise BadRequest(f"dry_run: a job has none; ask POST /deadletters/{asked.kind}")
        for job in self._running.values():
            if job.record.kind == asked.kind:
                raise Busy(f"the {asked.kind} job {job.record.id} still runs; wait, or cancel it")
        record = JobRecord(
            id=secrets.token_hex(8),
            kind=asked.kind,
            where=_told(asked.where),
            by=by,
            started_at=self._clock(),
            upto=self._queue.newest_dead_letter(),
            per_s=asked.per_s,
        )
        self._records[record.id] = record
        self._forget_oldest()
        job = self._running[record.id] = _RunningJob(record)
        try:
            await self._write()
        except OSError as error:
            del self._running[record.id], self._records[record.id]
            raise Refused(f"the job cannot be kept: {error.strerror}") from error
        self._run(record, job)
        await _within(job.counted.wait())
        return record

    async def cancel(self, job_id: str) -> JobRecord:
        """End a job after its step under way. Raises NotFound, or Refused where it has ended."""
        record = self.get(job_id)
        job = self._running.get(job_id)
        if job is None:
            raise Refused(f"the job {job_id} has ended: it is {record.state}")
        job.cancelled.set()
        if job.task is not None:
            await asyncio.wait({job.task}, timeout=WAIT_S)
        return record

    # --- one job ---

    def _run(self, record: JobRecord, job: _RunningJob | None = None) -> None:
        job = job or _RunningJob(record)
        self._running[record.id] = job
        job.task = asyncio.create_task(self._to_its_end(job))

    async def _to_its_end(self, job: _RunningJob) -> None:
        record = job.record
        try:
            await self._steps(job)
            record.state = "cancelled" if job.cancelled.is_set() else "done"
        except QueueUnavailable as error:
            record.state, record.error = "failed", str(error)
        except OSError as error:
            record.state, record.error = "failed", f"it cannot be kept: {error.strerror}"
        except asyncio.CancelledError:
            raise  # the service stops: it goes on with the next one
        except Exception as error:  # noqa: BLE001 - a bug of ours ends this job and nothing else
            _log.exception("job_broke", id=record.id)
            record.state, record.error = "failed", f"a bug in the service: {error!r}"
        finally:
            job.counted.set()
            self._running.pop(record.id, None)
        record.ended_at = self._clock()
        _log.info(
            "job_ended",
            id=record.id,
            kind=record.kind,
            state=record.state,
            matched=record.matched,
            done=record.done,
            not_done=record.not_done,
        )
        try:
            await self._write()
        except OSError as error:
            # It runs again after a restart, and finds nothing left to do.
            _log.warning("jobs_not_written", error=error.strerror)

    async def _steps(self, job: _RunningJob) -> None:
        record = job.record
        where = _bounded(record)
        left = (await self._ask(record.kind, where)).matched
        if record.matched is None:
            record.matched = left
            await self._write()  # before the first step: what is left of it later was done
        # What an earlier run did after it last wrote is no dead letter any more.
        record.done = max(record.done, record.matched - left)
        job.counted.set()
        most = STEP_LETTERS
        if record.per_s is not None:
            most = min(STEP_LETTERS, math.ceil(record.per_s * STEP_S))
        loop = asyncio.get_running_loop()
        due = loop.time()
        after: str | None = FIRST_DEAD_LETTER
        while after is not None and not job.cancelled.is_set():
            swept = await self._step(record.kind, where, after, record.upto, most)
            after = swept.after
            record.done += swept.done
            record.not_done += swept.matched - swept.done
            if record.per_s is not None:
                due = max(due, loop.time()) + swept.done / record.per_s
            await _within(job.cancelled.wait(), max(0.0, due - loop.time()))

    def _ask(self, kind: str, where: DeadLetterFilter) -> Awaitable[Selection]:
        act = self._queue.replay if kind == "replay" else self._queue.drop
        return act(where, dry_run=True)

    async def _step(
        self, kind: str, where: DeadLetterFilter, after: str, upto: str, most: int
    ) -> DeadLettersSwept:
        act = self._queue.replay_some if kind == "replay" else self._queue.drop_some
        return await act(where, after=after, upto=upto, most=most)

    # --- the file ---

    def _forget_oldest(self) -> None:
        ended = [record for record in reversed(self.all()) if not record.is_running]
        for record in ended[: max(0, len(self._records) - MOST_KEPT)]:
            del self._records[record.id]

    async def _write(self) -> None:
        async with self._writing:
            oldest_first = [msgspec.structs.replace(record) for record in reversed(self.all())]
            await asyncio.to_thread(self._store.write, oldest_first)


def _told(where: Filter) -> dict[str, str | list[str]]:
    told: dict[str, Any] = msgspec.to_builtins(where)  # Any: texts, and a list of them
    return {
        name: value
        for name, value in told.items()
        if value is not None and name in (*FILTERS, "ids")
    }


def _bounded(record: JobRecord) -> DeadLetterFilter:
    """The filter, without what became a dead letter after the job began."""
    where = msgspec.convert(record.where, Filter, strict=False).where()
    until = record.started_at if where.until is None else min(where.until, record.started_at)
    return msgspec.structs.replace(where, until=until)


async def _within(what: Awaitable[object], limit_s: float = WAIT_S) -> None:
    """Wait for it, and no longer than `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            await what
    except TimeoutError:
        pass  # it is looked at again


# --- rows ---


def rows(jobs: Jobs) -> tuple[Route, ...]:
    """The rows, bound to the jobs of the service."""
    bound = _JobRows(jobs)
    return (
        Route("POST", "/jobs", bound.begin, Right.ACT),
        Route("GET", "/jobs", bound.list, Right.VIEW),
        Route("GET", "/jobs/{id}", bound.show, Right.VIEW),
        Route("DELETE", "/jobs/{id}", bound.cancel, Right.ACT),
    )


def job_json(record: JobRecord, *, is_viewer: bool) -> dict[str, object]:
    """A job, as it is shown; a viewer sees no text of a reason."""
    where: Mapping[str, object] = record.where
    error = record.error
    if is_viewer:
        if "error" in where:
            where = {**where, "error": "(a text)"}
        if "cause" in where:
            where = {**where, "cause": viewers.cause(str(where["cause"]))}
        error = None if error is None else viewers.cause(error)
    return {
        "id": record.id,
        "kind": record.kind,
        "where": where,
        "state": record.state,
        "matched": record.matched,
        "done": record.done,
        "not_done": record.not_done,
        "per_s": record.per_s,
        "started_at": rfc3339(record.started_at),
        "ended_at": None if record.ended_at is None else rfc3339(record.ended_at),
        "by": record.by,
        "error": error,
        "resumed": record.resumed,
    }


@dataclass(frozen=True, slots=True)
class _JobRows:
    jobs: Jobs

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Begin a replay or drop of all that match."""
        caller = caller_of(request)
        try:
            asked = msgspec.json.decode(await request.read(), type=AskedJob)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(
                f'the body is no {{"kind": "replay", "where": {{}}, "per_s": null}}: {error}'
            ) from error
        record = await self.jobs.begin(asked, caller.name)
        say_done(
            request,
            Deed(f"{asked.kind} job", asked.where.in_words(), record.matched, f"job {record.id}"),
        )
        return json_answer(job_json(record, is_viewer=caller.is_viewer), status=202)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """The jobs that are kept, newest first."""
        read_parameters(list(request.query.items()), ())
        is_viewer = caller_of(request).is_viewer
        return json_answer(
            {"jobs": [job_json(one, is_viewer=is_viewer) for one in self.jobs.all()]}
        )

    async def show(self, request: web.Request) -> web.StreamResponse:
        """One job."""
        record = self.jobs.get(name_of(request, "id"))
        return json_answer(job_json(record, is_viewer=caller_of(request).is_viewer))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """End a job."""
        caller = caller_of(request)
        record = await self.jobs.cancel(name_of(request, "id"))
        say_done(request, Deed(f"cancel {record.kind} job", record.id, record.done))
        return json_answer(job_json(record, is_viewer=caller.is_viewer))
