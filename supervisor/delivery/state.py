"""What one pool has: its workers, its connections, and the batches that workers have of them.

Owns these records and that they agree: a batch is in the pool for as long as one worker has it, a
worker's counters are those of its batches. Everything else in this room reads them here and
changes them by the verbs. Must not decide anything, or speak to a worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from supervisor.core.isolation.grants import BatchTimes
from supervisor.delivery.activity import Activity
from supervisor.delivery.records import InflightBatch, PoolConnection, PoolWorker, SlotRecord
from supervisor.diagnostics.exits import ExitRecord


class PoolRecords:
    """The records of one pool. For the event loop's thread."""

    def __init__(self) -> None:
        self.running = Activity()
        """Batches that workers have."""
        self._workers: dict[int, PoolWorker] = {}
        self._connections: dict[str, PoolConnection] = {}
        self._batches: dict[int, InflightBatch] = {}
        self._slots: dict[int, SlotRecord] = {}
        self._left_alone: frozenset[int] = frozenset()
        self.batch_times = BatchTimes()
        """How long those of each connection usually take."""
        self.serial: int | None = None
        """The worker that has one batch at a time, so that it shows what each leaves behind."""
        self.connections: Mapping[str, PoolConnection] = MappingProxyType(self._connections)
        """Those of the config, by name."""

    # --- workers ---

    @property
    def workers(self) -> Collection[PoolWorker]:
        """All that were asked for and are not gone, as they are now: a copy."""
        return list(self._workers.values())

    def worker(self, number: int) -> PoolWorker | None:
        """One of them."""
        return self._workers.get(number)

    def serving(self) -> Iterator[PoolWorker]:
        """Those in a slot, which all connections share."""
        return (one for one in self._workers.values() if one.slot is not None)

    def forked(self, pool_worker: PoolWorker) -> None:
        """One was asked for."""
        self._workers[pool_worker.number] = pool_worker

    def assigned(self, pool_worker: PoolWorker, slot: int) -> None:
        """It serves in a slot from now on."""
        pool_worker.slot = slot
        self._slots.setdefault(slot, SlotRecord()).processes += 1

    def gone(self, number: int) -> PoolWorker:
        """It has ended; so have its batches. Raises KeyError for one that is not there."""
        pool_worker = self._workers.pop(number)
        for batch_id in pool_worker.batches:
            self._forget(batch_id)
        return pool_worker

    def exited(self, pool_worker: PoolWorker, record: ExitRecord) -> None:
        """Its exit is on record."""
        if pool_worker.slot is not None:
            self._slots[pool_worker.slot].last_exit = record

    def leave_alone(self, numbers: frozenset[int]) -> frozenset[int]:
        """These get nothing more, since they have batches of unproven connections, or late ones.

        The numbers of those for which that is new, or over.
        """
        changed = self._left_alone ^ numbers
        self._left_alone = numbers
        return changed & self._workers.keys()

    def is_left_alone(self, pool_worker: PoolWorker) -> bool:
        """Whether it is one of those."""
        return pool_worker.number in self._left_alone

    def make_serial(self, number: int | None) -> list[PoolWorker]:
        """This worker has one batch at a time from now on; those whose limit has changed."""
        before, self.serial = self.serial, number
        changed = [self._workers.get(one) for one in (before, number) if one is not None]
        return [one for one in changed if one is not None]

    def slot(self, slot: int) -> SlotRecord:
        """What is counted of a worker id; nothing so far where it never served."""
        return self._slots.get(slot) or SlotRecord()

    # --- connections ---

    def follow(self, connections: Iterable[PoolConnection]) -> list[str]:
        """These are the pool's connections from now on; names of those that are no more."""
        wanted = {connection.name: connection for connection in connections}
        removed = [name for name in self._connections if name not in wanted]
        for name in removed:
            self.batch_times.forget(name)
        self._connections.clear()
        self._connections.update(wanted)
        return removed

    # --- batches ---

    @property
    def inflight(self) -> int:
        """Deliveries that are with workers, unreported."""
        return sum(batch.unreported for batch in self._batches.values())

    def handed_over(self, pool_worker: PoolWorker, batch: InflightBatch) -> None:
        """A worker has one more."""
        events = len(batch.reported)
        batch.lost_before_s = pool_worker.lost_s
        self._batches[batch.id] = pool_worker.batches[batch.id] = batch
        pool_worker.worker.running[batch.connection] += events
        if pool_worker.slot is not None:
            record = self._slots[pool_worker.slot]
            record.batches += 1
            record.events += events
        self.running.began()

    def ended(self, pool_worker: PoolWorker, batch_id: int, now: float) -> InflightBatch:
        """A worker is done with one. Raises KeyError for one that it does not have."""
        batch = pool_worker.batches.pop(batch_id)
        events = len(batch.reported)
        self.batch_times.ended(batch.connection, now - batch.started)
        pool_worker.finished += 1
        pool_worker.worker.worked[batch.connection] += events
        pool_worker.worker.running[batch.connection] -= events
        if not pool_worker.batches:
            pool_worker.rests(now)
        self._forget(batch_id)
        return batch

    def _forget(self, batch_id: int) -> None:
        del self._batches[batch_id]
        self.running.ended()
