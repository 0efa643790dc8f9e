"""Diagnostics of what workers hold and do: taken on demand and by itself, kept, and handed out.

Owns which worker is asked for what, under which reason it is kept, and the
baselines of pools. What is kept stands in `diagnostics/snapshots.py`, how it is asked for
in `diagnostics/collector.py`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

import structlog

from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.delivery.pool import PoolRunner
from supervisor.delivery.records import PoolWorker
from supervisor.diagnostics.collector import CollectFailed, Collector, Kind, NoAnswer
from supervisor.diagnostics.reports import Reporter, ReportFailed, ReportFormat, ReportOverdue
from supervisor.diagnostics.snapshots import Full, Snapshot, SnapshotStore
from supervisor.errors import EvidenceFailed, NotFound, Refused
from supervisor.telemetry.metrics import Metrics
from supervisor.telemetry.unanswered import Unanswered
from supervisor.workers.handle import WorkerHandle

_log = structlog.get_logger(__name__)

#: Most bytes of one snapshot, and of a text (tasks, a profile).
MAX_SNAPSHOT_BYTES = 1024 * 1024 * 1024
MAX_TEXT_BYTES = 64 * 1024 * 1024
#: Seconds that a worker has served before the baseline of its pool is taken.
WARM_UP_S = 60.0
#: What a snapshot takes on disk for each byte that a worker holds, at most as far as was measured.
BYTES_PER_BYTE = 0.5


class Diagnostics:
    """Of all pools: `runners` is the service's own mapping, by name."""

    def __init__(
        self,
        runners: Mapping[str, PoolRunner],
        store: SnapshotStore,
        metrics: Metrics,
        reporter: Reporter,
        unanswered: Unanswered,
    ) -> None:
        self._unanswered = unanswered
        self.store = store
        self._reporter = reporter
        self._runners = runners
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Snapshot | None]] = set()
        self._baselines: set[str] = set()

    # --- on demand ---

    async def heap(self, worker_id: str, kind: Kind, *, full_strings: bool) -> Snapshot:
        """Take a snapshot of a worker and keep it.

        Raises NotFound, Refused where one is being taken in this pool already, or EvidenceFailed.
        A caller that is cancelled stops the work.
        """
        runner, pool_worker = self._pool_worker(worker_id)
        return await self._take(
            runner,
            pool_worker.worker,
            kind,
            "request",
            full_strings=full_strings,
            connection=None,
        )

    async def look(self, worker_id: str, kind: Kind, seconds: float) -> bytes:
        """A text that a worker writes about itself: its tasks, or a profile of `seconds`.

        Raises NotFound, Refused or EvidenceFailed.
        """
        runner, pool_worker = self._pool_worker(worker_id)
        try:
            file = os.memfd_create("bulkhead-evidence", os.MFD_CLOEXEC)
        except OSError as error:
            raise EvidenceFailed(f"no file for what it writes: {error.strerror}") from error
        try:
            await self._collect(
                runner.collector,
                pool_worker.worker,
                kind,
                file,
                MAX_TEXT_BYTES,
                seconds=seconds,
            )
            return os.pread(file, MAX_TEXT_BYTES, 0)
        finally:
            os.close(file)

    async def stacks(self, worker_id: str) -> str:
        """Python stacks of a worker's threads, hung or not, and where its loop still runs, of its
        tasks. Raises NotFound or Refused.
        """
        _, pool_worker = self._pool_worker(worker_id)
        worker = pool_worker.worker
        threads = await worker.take_stacks() or "it has written none: it is dying, or stopped\n"
        mark = worker.marked()
        try:
            tasks = (await self.look(worker_id, "tasks", 0.0)).decode("utf-8", "replace")
        except (EvidenceFailed, Refused) as error:
            tasks = f"not to be had: {error}\n"
        at = "" if mark is None else f", {mark}"
        return (
            f"{worker_id}, pid {worker.pid}{at}\n\n--- threads ---\n\n{threads}"
            f"\n--- tasks ---\n\n{tasks}"
        )

    def loop(self, worker_id: str) -> Mapping[str, object]:
        """How a worker's event loop fares. Raises NotFound or Refused."""
        _, pool_worker = self._pool_worker(worker_id)
        mark = pool_worker.worker.marked()
        return {
            "worker": worker_id,
            "pid": pool_worker.worker.pid,
            "lag_s": pool_worker.loop_lag_s,
            "rounds": pool_worker.worker.beats,
            "running_batches": pool_worker.running_batches,
            "inflight_batches": len(pool_worker.batches),
            "at": None if mark is None else str(mark),
        }

    async def report(self, snapshot: Snapshot, form: ReportFormat) -> bytes:
        """What fills a heap that was kept, and what holds it. Raises Refused or EvidenceFailed."""
        if snapshot.kind == "hpy":
            raise Refused(f"{snapshot.name} is guppy's own file; a report is made of the others")
        return await self._report(snapshot, form)

    async def difference(self, old: Snapshot, new: Snapshot) -> bytes:
        """What grew from one heap that was kept to another, as JSON.

        Raises Refused or EvidenceFailed.
        """
        for snapshot in (old, new):
            if snapshot.kind != "heapsnapshot":
                raise Refused(f"{snapshot.name} is no heapsnapshot; only those can be compared")
        return await self._report(new, "json", old)

    async def _report(
        self, snapshot: Snapshot, form: ReportFormat, old: Snapshot | None = None
    ) -> bytes:
        older = None if old is None else self.store.path(old)
        try:
            return await self._reporter.run(
                self.store.path(snapshot), form, snapshot.name, old=older
            )
        except ReportFailed as error:
            if isinstance(error, ReportOverdue):
                self._unanswered.tell(f"report of {snapshot.name}", str(error))
            raise EvidenceFailed(f"{snapshot.name}: {error}") from error

    # --- by itself ---

    def take_soon(
        self, pool: str, worker: WorkerHandle, reason: str, connection: str | None
    ) -> asyncio.Task[Snapshot | None]:
        """Take a snapshot in the background, after what is being taken already, and keep it under
        `reason`; None comes of it where it could not be had, which is logged.
        """
        work = self._take_by_itself(pool, worker, reason, connection)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take_by_itself(
        self, pool: str, worker: WorkerHandle, reason: str, connection: str | None
    ) -> Snapshot | None:
        runner = self._runners.get(pool)
        if runner is None:
            return None
        try:
            return await self._take(
                runner,
                worker,
                "heapsnapshot",
                reason,
                full_strings=False,
                connection=connection,
                patient=True,
            )
        except (EvidenceFailed, Refused) as error:
            _log.warning(
                "snapshot_failed", pool=pool, worker=worker.label, why=reason, error=str(error)
            )
            return None

    def look_for_baselines(self) -> None:
        """Take one of each pool that has a warm worker and none yet, so that there is something to
        compare with.
        """
        for name, runner in self._runners.items():
            if name in self._baselines:
                continue
            for pool_worker in runner.serving().values():
                if pool_worker is not None and pool_worker.worker.uptime_s >= WARM_UP_S:
                    self._baselines.add(name)
                    self.take_soon(name, pool_worker.worker, "baseline", None)
                    break

    async def close(self) -> None:
        """Stop what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- inside ---

    def _pool_worker(self, worker_id: str) -> tuple[PoolRunner, PoolWorker]:
        pool, _, slot = worker_id.rpartition("-")
        runner = self._runners.get(pool)
        if runner is None or not slot.isdigit() or int(slot) not in runner.slots_wanted:
            known = ", ".join(
                f"{name}-{n}" for name, runner in self._runners.items() for n in runner.slots_wanted
            )
            raise NotFound(f"there is no worker {worker_id!r}; there are {known}")
        pool_worker = runner.serving().get(int(slot))
        if pool_worker is None or pool_worker.worker.state is not ProcessState.READY:
            raise Refused(f"{worker_id} has no process now: it is being started")
        return runner, pool_worker

    async def _take(
        self,
        runner: PoolRunner,
        worker: WorkerHandle,
        kind: Kind,
        reason: str,
        *,
        full_strings: bool,
        connection: str | None,
        patient: bool = False,
    ) -> Snapshot:
        label, pid = worker.label, worker.pid or 0
        wanted = int(worker.rss_bytes * BYTES_PER_BYTE)
        began = time.monotonic()
        try:
            name, file = self.store.begin(label, pid, kind, wanted)
        except Full as error:
            raise EvidenceFailed(str(error)) from error
        except OSError as error:
            raise EvidenceFailed(f"no file for a snapshot: {error.strerror}") from error
        try:
            with file:
                pause_s = await self._collect(
                    runner.collector,
                    worker,
                    kind,
                    file.fileno(),
                    MAX_SNAPSHOT_BYTES,
                    full_strings=full_strings,
                    patient=patient,
                )
            kept = self.store.keep(
                name,
                worker=label,
                pool=runner.pool_spec.name,
                pid=pid,
                kind=kind,
                reason=reason,
                pause_s=pause_s,
                connection=connection,
            )
        except OSError as error:
            self.store.abandon(name)
            raise EvidenceFailed(f"the snapshot cannot be kept: {error.strerror}") from error
        except BaseException:
            self.store.abandon(name)
            raise
        self._metrics.snapshot_seconds(kind, time.monotonic() - began)
        _log.info(
            "snapshot_taken",
            name=name,
            pool=runner.pool_spec.name,
            worker=label,
            pid=pid,
            why=reason,
            size_bytes=kept.size_bytes,
            pause_s=round(pause_s, 4),
        )
        return kept

    async def _collect(
        self,
        collector: Collector,
        worker: WorkerHandle,
        kind: Kind,
        sink: int,
        max_bytes: int,
        *,
        full_strings: bool = False,
        seconds: float = 0.0,
        patient: bool = False,
    ) -> float:
        """How long the worker stood still, in seconds."""
        try:
            said = await collector.collect(
                worker,
                kind,
                sink,
                max_bytes=max_bytes,
                full_strings=full_strings,
                seconds=seconds,
                patient=patient,
            )
        except CollectFailed as error:
            if isinstance(error, NoAnswer):
                self._unanswered.tell(worker.label, f"{kind}: {error}")
            raise EvidenceFailed(str(error)) from error
        # What a worker says of itself: bounded, so that a lie breaks no figure.
        return min(max(said.pause_s, 0.0), MAX_PAUSE_S)


#: Longest pause that is believed, in seconds.
MAX_PAUSE_S = 3600.0
