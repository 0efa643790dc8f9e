"""A lease table over memory alone: what the tests of leases and settlement start from.

Must not assert: what holds is for the tests to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from supervisor.queue import ConnectionSpec, Lease
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunks import NewChunk, RouteIds, build, keys_of
from supervisor.queue.sqlite.intake import WrittenChunk
from supervisor.queue.sqlite.journal import Journal
from supervisor.queue.sqlite.leases import LeaseTable
from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.queue.sqlite.settlement import LeaseSettlement
from tests.queue.given import T0, TO_A, event

TERM_S = 60.0


@dataclass
class Table:
    """One connection, its leases, and the journal of what becomes of them."""

    memory: QueueMemory = field(default_factory=QueueMemory)
    journal: Journal = field(default_factory=Journal)
    work: list[str] = field(default_factory=list)
    keeps_history: bool = True

    def __post_init__(self) -> None:
        self.backlog: ConnectionBacklog = self.memory.new_backlog("a", 1)
        self.backlog.spec = ConnectionSpec("web")
        rows = count(100)
        settlement = LeaseSettlement(
            self.memory,
            lambda: next(rows),
            lambda backlog: self.work.append(backlog.name),
            lambda backlog: None,
            keeps_history=self.keeps_history,
        )
        self.leases = LeaseTable(settlement)
        self._chunk_ids = count(1)

    def store(self, *ids: str) -> NewChunk:
        """Events as a commit brings them."""
        events = [event(one) for one in ids]
        ways = {id(TO_A): RouteIds((self.backlog.id,), (), ())}
        (chunk,) = build(events, keys_of("web", events), T0, ways)
        written = WrittenChunk(
            next(self._chunk_ids), 1, len(chunk.payload), chunk, chunk.routing.masks()
        )
        self.memory.stored([written])
        return chunk

    def lease(self, most: int = 100, *, now: float = T0) -> Lease | None:
        """The oldest fresh deliveries."""
        return self.leases.take_fresh(
            self.backlog,
            now,
            max_events=most,
            max_bytes=1 << 30,
            term_s=TERM_S,
            exclude_users=frozenset(),
        )

    def leased(self, *ids: str) -> Lease:
        """Events that came and were leased."""
        self.store(*ids)
        lease = self.lease()
        if lease is None:
            raise LookupError("nothing to lease")
        return lease

    def leased_retry(self, now: float) -> Lease:
        """The retries that are due, with what memory knows of them."""
        entries = self.backlog.lease_retries(now, 100)
        rows = self.memory.unwritten_retries
        deliveries = [rows[entry[1]].next_delivery for entry in entries]
        return self.leases.take_retries(self.backlog, entries, deliveries, now, TERM_S)

    def delta(self, counter: int) -> int:
        """How a counter of the connection changes with the next commit."""
        delta = self.journal.deltas.get(self.backlog.id)
        return 0 if delta is None else delta[counter]
