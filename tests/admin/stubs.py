"""A service that only stands there: `Control` over values that a test sets.

The admin API and the commands are tested against it through real sockets; the
service itself, behind the same seam, has tests of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from supervisor.admin.plan import ConfigPlan, PlannedChanges, ReloadOutcome
from supervisor.diagnostics.collector import Kind
from supervisor.diagnostics.exits import ExitRecord, ExitStore
from supervisor.diagnostics.reports import ReportFormat
from supervisor.diagnostics.snapshots import Snapshot, SnapshotStore
from supervisor.diagnostics.usage import Usage
from supervisor.errors import Busy, NotFound, Refused
from supervisor.insight.insight import Insight
from supervisor.insight.masking import Masking
from supervisor.queue import (
    Books,
    DeadLetter,
    DeadLetterFilter,
    DedupeStats,
    DeliveryRecord,
    EventRecord,
    Outcome,
    Queue,
    QueueStats,
    Selection,
)
from supervisor.telemetry.at_work import BatchAtWork, BlameAtWork, PoolAtWork, WorkerAtWork
from supervisor.telemetry.metrics import Metrics
from supervisor.telemetry.status import (
    ApartStatus,
    BlameStatus,
    LastExit,
    LimitsStatus,
    PoolState,
    PoolStatus,
    QueueState,
    QueueStatus,
    ServiceState,
    SpareStatus,
    Status,
    StoreStatus,
    WorkerState,
    WorkerStatus,
    ZygoteStatus,
)

#: 2026-01-31T13:00:00Z
AT = 1_769_864_400.0
BOOKS = Books(accepted=7, delivered_first_try=3, delivered_on_retry=1, failed=2, pending=1)


def queue_status(
    connection: str = "website-hook",
    *,
    state: QueueState = QueueState.OPEN,
    depth: int = 0,
    oldest_s: float | None = None,
    state_reason: str = "",
) -> QueueStatus:
    """One row of `/status`."""
    return QueueStatus(
        connection=connection,
        source="website",
        destination="webhooks",
        pool="default",
        depth=depth,
        inflight=0,
        oldest_s=oldest_s,
        state=state,
        state_reason=state_reason,
        next_attempt_in_s=None,
    )


def worker_status(worker_id: str = "default-1") -> WorkerStatus:
    """One worker that has been replaced once."""
    return WorkerStatus(
        id=worker_id,
        pid=4711,
        state=WorkerState.BUSY,
        rss_bytes=20 * 1024 * 1024,
        inflight_batches=1,
        batches=12,
        events=1200,
        restarts=1,
        uptime_s=75.0,
        last_exit=LastExit("signal", "SIGSEGV", "2026-01-31T12:59:00Z", "website-hook"),
    )


def a_status(*queues: QueueStatus, intake: str = "open") -> Status:
    """A service that runs."""
    spare = SpareStatus(pid=4712, state=WorkerState.IDLE, rss_bytes=1, uptime_s=1.0)
    apart = ApartStatus("website-hook", 4713, WorkerState.IDLE, rss_bytes=1, uptime_s=1.0)
    return Status(
        version="1.2.3",
        state=ServiceState.RUNNING,
        uptime_s=90.0,
        pools=(
            PoolStatus("default", PoolState.RUNNING, (worker_status(),), (spare,), "", (apart,)),
        ),
        queues=queues or (queue_status(),),
        books=BOOKS,
        sandbox={"rlimits": "on", "cgroup": "no delegated cgroup"},
        dedupe=DedupeStats(window_s=86_400.0, ids=10, dropped=2),
        store=StoreStatus(intake, 1024, 2 * 1024**3, 0, 0, 0, 5, 0.01),
        limits=LimitsStatus("tmpfs: 32 MiB and 1000 files a worker", []),
        zygote=ZygoteStatus(4710),
        pid=4709,
    )


def pool_at_work(pool: PoolStatus) -> PoolAtWork:
    """A pool with one batch in its first worker."""
    batch = BatchAtWork("website-hook", 100, 0.25, "event 3 of 100")
    return PoolAtWork(
        name=pool.name,
        state=pool.state,
        state_reason=pool.state_reason,
        workers=[
            WorkerAtWork(
                id=worker.id,
                pid=worker.pid,
                state=worker.state,
                last_exit=worker.last_exit,
                batches=[batch],
                open_connections={"website-hook": 112},
                open_curve=[(1.0, 112)],
            )
            for worker in pool.workers
        ],
        spares=(),
        apart=(),
        loosened=pool.loosened,
        leaks_together=pool.leaks_together,
        blame=[BlameAtWork("website-hook", BlameStatus(worker_deaths=2, hogs="a text"))],
    )


def a_letter(number: int, *, event: bytes | None = None) -> DeadLetter:
    """A dead letter; a higher number is a newer one."""
    return DeadLetter(
        id=f"letter-{number}",
        connection="website-hook",
        message_id=f"message-{number}",
        outcome=Outcome.FAILED,
        reason="status 400",
        attempts=2,
        first_at=AT,
        last_at=AT + number,
        exit=None,
        event=event,
    )


def an_exit(number: int, **changes: object) -> ExitRecord:
    """A worker that hung; a higher number is a later one."""
    record = ExitRecord(
        id=f"exit-{number}",
        at=AT + number,
        pool="default",
        worker="default-1",
        pid=4711 + number,
        reason="timeout",
        detail="its event loop was blocked for 1.0 s",
        connection="website-hook",
        destination="webhooks",
        connections=("website-hook", "website-mixpanel"),
        event="m5",
        events=("m5", "m6"),
        unreported=2,
        uptime_s=12.5,
        usage=Usage(1.5, 0.25, 64 * 1024 * 1024, 0, 0, 0, 3),
    )
    return msgspec.structs.replace(record, **changes)


class StubQueue:
    """What the admin API needs of a queue, and what it was asked."""

    def __init__(self) -> None:
        self.books_now = BOOKS
        self.intake = "open"
        self.letters: list[DeadLetter] = [a_letter(3), a_letter(2), a_letter(1)]
        self.records: list[EventRecord] = []
        self.asked: list[tuple[str, DeadLetterFilter, bool]] = []
        self.listed: list[tuple[DeadLetterFilter, int, str | None]] = []

    async def audit(self) -> Books:
        return self.books_now

    def books(self) -> Books:
        return self.books_now

    def stats(self) -> QueueStats:
        return QueueStats(
            self.intake, 1024, 2 * 1024**3, 0, 0, 0, DedupeStats(86_400.0, 10, 2), 5, 0.01
        )

    def books_by_connection(self) -> Mapping[str, Books]:
        return {"website-hook": self.books_now}

    async def find(self, message_id: str) -> Sequence[EventRecord]:
        return [record for record in self.records if record.message_id == message_id]

    async def dead_letters(
        self, where: DeadLetterFilter, *, limit: int, after: str | None
    ) -> Sequence[DeadLetter]:
        self.listed.append((where, limit, after))
        ids = [letter.id for letter in self.letters]
        if after is not None and after not in ids:
            return []
        start = 0 if after is None else ids.index(after) + 1
        return self.letters[start : start + limit]

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        found = [letter for letter in self.letters if letter.id == letter_id]
        if not found:
            return None
        return msgspec.structs.replace(found[0], event=b'{"type":"track","event":"Bought"}')

    async def replay(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        self.asked.append(("replay", where, dry_run))
        return Selection(matched=3, done=0 if dry_run else 2)

    async def drop(self, where: DeadLetterFilter, *, dry_run: bool) -> Selection:
        self.asked.append(("drop", where, dry_run))
        return Selection(matched=3, done=0 if dry_run else 3)


class StubEvidence:
    """`debug.DiagnosticsSource` of default-1. A test may set the folder of what is kept."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._store: SnapshotStore | None = None
        self.body = b'{"snapshot":{}}'
        self.asked: list[tuple[str, str, object]] = []
        #: So many requests meet another that is being taken.
        self.busy = 0

    @property
    def store(self) -> SnapshotStore:
        if self._store is None:
            assert self.folder is not None, "the test sets `folder`"
            self._store = SnapshotStore(self.folder, max_bytes=1024**3, clock=lambda: AT)
        return self._store

    async def heap(self, worker_id: str, kind: Kind, *, full_strings: bool) -> Snapshot:
        if self.busy:
            self.busy -= 1
            raise Busy("default-1 gives its heapsnapshot just now; ask again in a few seconds")
        self._ask(kind, worker_id, full_strings)
        name, file = self.store.begin(worker_id, 4711, kind, len(self.body))
        with file:
            file.write(self.body)
        return self.store.keep(
            name,
            worker=worker_id,
            pool="default",
            pid=4711,
            kind=kind,
            reason="request",
            pause_s=0.006,
            connection=None,
        )

    async def look(self, worker_id: str, kind: Kind, seconds: float) -> bytes:
        self._ask(kind, worker_id, seconds)
        return b"main;deliver 7\n"

    async def stacks(self, worker_id: str) -> str:
        self._ask("stacks", worker_id, None)
        return 'File "leaky.py", line 3 in deliver\n'

    def loop(self, worker_id: str) -> Mapping[str, object]:
        self._ask("loop", worker_id, None)
        return {"lag_s": 0.001}

    async def report(self, snapshot: Snapshot, form: ReportFormat) -> bytes:
        self.asked.append(("report", snapshot.name, form))
        return f"a report as {form}".encode()

    async def difference(self, old: Snapshot, new: Snapshot) -> bytes:
        self.asked.append(("difference", old.name, new.name))
        return b"{}"

    def _ask(self, what: str, worker_id: str, more: object) -> None:
        if worker_id != "default-1":
            raise NotFound(f"there is no worker {worker_id!r}; there are default-1")
        self.asked.append((what, worker_id, more))


class StubPlanner:
    """`Planner`: what a test says that the file would change."""

    def __init__(self) -> None:
        self.planned = ConfigPlan(PlannedChanges(), [], AT)
        self.outcome = ReloadOutcome()
        self.asked: list[str] = []

    async def plan(self) -> ConfigPlan:
        self.asked.append("plan")
        return self.planned

    async def reload(self) -> ReloadOutcome:
        self.asked.append("reload")
        return self.outcome

    def plan_differs(self) -> bool:
        return self.planned.differs


class StubControl:
    """`Control`, with one connection and one worker; what was done by hand is in `done`."""

    def __init__(self, state_dir: Path) -> None:
        self.stub_queue = StubQueue()
        self.exits = ExitStore(state_dir, str)
        self.evidence = StubEvidence()
        self.planner = StubPlanner()
        self.metrics = Metrics("1.2.3")
        self.insight: Insight | None = None
        self.masking = Masking("masked", (), b"k" * 16)
        self.now = a_status()
        self.done: list[tuple[str, str]] = []
        self.metrics.follow(self.status)

    @property
    def queue(self) -> Queue:
        # The admin API reads and never appends or leases: those methods are not stubbed.
        return cast(Queue, self.stub_queue)

    def not_ready(self) -> str | None:
        return None if self.now.store.intake == "open" else self.now.store.intake

    def pools(self) -> Sequence[PoolStatus]:
        return self.now.pools

    def pool(self, name: str) -> PoolAtWork:
        for pool in self.now.pools:
            if pool.name == name:
                return pool_at_work(pool)
        raise NotFound(f"there is no pool {name!r}; there is default")

    def queue_status(self, connection: str) -> QueueStatus:
        for queue in self.now.queues:
            if queue.connection == connection:
                return queue
        raise NotFound(f"there is no connection {connection!r}")

    async def status(self) -> Status:
        return self.now

    def waiting_for(self, connection: str, record: DeliveryRecord) -> str:
        return "its rate limit"

    async def recycle(self, worker_id: str) -> None:
        self._do("recycle", worker_id, "default-1")

    async def pause(self, connection: str) -> None:
        self._do("pause", connection, "website-hook")

    async def resume(self, connection: str) -> None:
        self._do("resume", connection, "website-hook")

    async def probe(self, connection: str) -> None:
        if self.now.queues[0].state is QueueState.DISABLED:
            raise Refused(f"{connection} is disabled; set enabled = true in the config")
        self._do("probe", connection, "website-hook")

    def _do(self, what: str, name: str, known: str) -> None:
        if name != known:
            raise NotFound(f"there is no {name!r}; there is {known}")
        self.done.append((what, name))
