"""Leases: what each of them takes, and until when it holds that.

Owns the lease table and the picking of deliveries, on memory alone; what
becomes of them is decided in `settlement.py`. Must not do I/O: what is missing
in memory its caller fetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from supervisor.core.scheduling.user_order import Place, UserOrder
from supervisor.queue import Delivered, Delivery, Lease, LeaseExpired, Release, Verdict
from supervisor.queue.sqlite.active_lease import ActiveLease, LeaseSegment
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import Chunk, ChunkProgress
from supervisor.queue.sqlite.chunks import bits_of, full_mask, mask_of
from supervisor.queue.sqlite.journal import Journal
from supervisor.queue.sqlite.retry_heap import RetryEntry
from supervisor.queue.sqlite.settlement import LeaseSettlement

#: Deliveries that a lease in order looks at: more that cannot go yet have to wait for those.
LOOKED_AT = 2048
#: Payload bytes that are read ahead of what a lease needs.
READ_AHEAD_BYTES = 1024 * 1024


class LeaseTable:
    """All leases that are not over."""

    def __init__(self, settlement: LeaseSettlement) -> None:
        self._settlement = settlement
        self._active: dict[int, ActiveLease] = {}
        self._expiry: list[tuple[float, int]] = []
        self._last_id = 0

    # --- terms ---

    @property
    def next_expiry(self) -> float | None:
        """When a lease may expire next."""
        return self._expiry[0][0] if self._expiry else None

    def expire(self, journal: Journal, now: float) -> None:
        """Take back what is overdue."""
        while self._expiry and self._expiry[0][0] <= now:
            _, lease_id = heappop(self._expiry)
            active = self._active.get(lease_id)
            if active is None:
                continue
            if active.expires_at > now:  # extended since
                heappush(self._expiry, (active.expires_at, lease_id))
                continue
            for index in list(active.undecided()):
                active.decide(index)
                self._settlement.decide(active, index, Release(), journal, now)
            self._end(active)

    def extend(self, lease: Lease, until: float) -> None:
        """Hold a lease longer. Raises LeaseExpired."""
        self._of(lease).extend(until)
        heappush(self._expiry, (until, lease.id))

    def _of(self, lease: Lease) -> ActiveLease:
        active = self._active.get(lease.id)
        if active is None:
            raise LeaseExpired(
                f"lease {lease.id} of {lease.connection} is over: what it held is pending again"
            )
        return active

    def _begin(
        self,
        backlog: ConnectionBacklog,
        deliveries: Sequence[Delivery],
        size: int,
        now: float,
        term_s: float,
        *,
        segments: Sequence[LeaseSegment] = (),
        entries: Sequence[RetryEntry] = (),
    ) -> Lease:
        while self._expiry and self._expiry[0][1] not in self._active:
            heappop(self._expiry)
        self._last_id += 1
        number, expires_at = self._last_id, now + term_s
        self._active[number] = ActiveLease(
            number,
            backlog,
            now,
            expires_at,
            deliveries,
            size,
            segments=segments,
            entries=entries,
        )
        backlog.lease_began(number, deliveries[0].received_at)
        heappush(self._expiry, (expires_at, number))
        return Lease(number, backlog.name, expires_at, deliveries)

    # --- taking ---

    def missing(self, backlog: ConnectionBacklog, max_events: int) -> list[Chunk]:
        """Chunks whose payload a lease wants and memory does not have, and some that follow."""
        found: list[Chunk] = []
        events = size = 0
        for progress in backlog.window.listed:
            if events >= max_events and (not found or size >= READ_AHEAD_BYTES):
                break
            if progress.chunk.deliveries is None:
                found.append(progress.chunk)
                size += progress.chunk.size
            events += progress.unleased.bit_count()
        return found

    def take_fresh(
        self,
        backlog: ConnectionBacklog,
        now: float,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """Lease the oldest fresh deliveries whose payload is in memory."""
        segments: list[LeaseSegment] = []
        deliveries: list[Delivery] = []
        size = 0
        for progress in backlog.window.listed:
            known = progress.chunk.deliveries
            if known is None or len(deliveries) >= max_events or (size and size >= max_bytes):
                break
            positions, taken, has_room = _pick(
                progress,
                known,
                max_events - len(deliveries),
                max_bytes - size,
                exclude_users,
                is_first=not deliveries,
            )
            if taken:
                unleased = progress.unleased
                mask = unleased if len(taken) == unleased.bit_count() else mask_of(positions)
                segments.append(LeaseSegment(len(deliveries), progress, positions, mask))
                deliveries = deliveries + taken if deliveries else taken
                size += sum(len(delivery.body) for delivery in taken)
            if not has_room:
                break
        if not segments:
            return None
        return self._lease_fresh(backlog, segments, deliveries, size, now, term_s)

    def _lease_fresh(
        self,
        backlog: ConnectionBacklog,
        segments: Sequence[LeaseSegment],
        deliveries: Sequence[Delivery],
        size: int,
        now: float,
        term_s: float,
    ) -> Lease:
        backlog.lease_fresh([(one.progress, one.mask) for one in segments], len(deliveries))
        return self._begin(backlog, deliveries, size, now, term_s, segments=segments)

    def take_ordered(
        self,
        backlog: ConnectionBacklog,
        order: UserOrder,
        journal: Journal,
        now: float,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | Chunk | None:
        """Lease the oldest fresh deliveries of users that have none on its way, one of each.

        What waits behind a retry is parked on the way. The answer is a chunk
        where its payload is missing to go on.
        """
        segments: list[LeaseSegment] = []
        deliveries: list[Delivery] = []
        size = looked = 0
        missing: Chunk | None = None
        for progress in list(backlog.window.listed):
            known = progress.chunk.deliveries
            if known is None:
                missing = progress.chunk
                break
            positions: list[int] = []
            base = len(deliveries)
            for position in bits_of(progress.unleased):
                delivery = known[position]
                user = delivery.user_key
                looked += 1
                if looked > LOOKED_AT:
                    break
                if user in exclude_users:
                    continue
                place = order.place(user)
                if place is Place.SEND:
                    size += len(delivery.body)
                    if len(deliveries) == max_events or (size > max_bytes and deliveries):
                        looked = LOOKED_AT  # a later one must not go in its place
                        break
                    order.began(user)
                    positions.append(position)
                    deliveries.append(delivery)
                elif place is Place.ASIDE:
                    self._settlement.park(
                        backlog, order, progress, position, delivery, journal, now
                    )
            if positions:
                segments.append(LeaseSegment(base, progress, positions, mask_of(positions)))
            if looked >= LOOKED_AT:
                break
        if not segments:
            return missing
        return self._lease_fresh(backlog, segments, deliveries, size, now, term_s)

    def running_users(self, backlog: ConnectionBacklog) -> set[bytes]:
        """Users of a connection that have a first attempt on its way."""
        return {
            active.deliveries[index].user_key
            for active in self._active.values()
            if active.backlog is backlog and active.segments
            for index in active.undecided()
        }

    def take_retries(
        self,
        backlog: ConnectionBacklog,
        entries: Sequence[RetryEntry],
        deliveries: Sequence[Delivery],
        now: float,
        term_s: float,
    ) -> Lease:
        """Lease retries that the backlog counts as leased already, with what was read of them."""
        size = sum(len(delivery.body) for delivery in deliveries)
        return self._begin(backlog, deliveries, size, now, term_s, entries=entries)

    def undecided(self) -> dict[int, int]:
        """How many deliveries of each connection are leased, by number."""
        found: dict[int, int] = {}
        for active in self._active.values():
            number = active.backlog.id
            found[number] = found.get(number, 0) + sum(1 for _ in active.undecided())
        return found

    # --- settlement ---

    def settle(
        self, lease: Lease, verdicts: Sequence[tuple[int, Verdict]], journal: Journal, now: float
    ) -> None:
        """Decide deliveries. Raises LeaseExpired, and IndexError before anything is decided."""
        active = self._of(lease)
        size = len(active.deliveries)
        is_all_delivered = True
        for index, verdict in verdicts:
            if not 0 <= index < size:
                raise IndexError(f"lease {lease.id} has no delivery {index}, it has {size}")
            if type(verdict) is not Delivered:
                is_all_delivered = False
        if is_all_delivered and active.segments and active.backlog.order is None:
            self._settlement.delivered(active, [index for index, _ in verdicts], journal)
        else:
            for index, verdict in verdicts:
                if active.decide(index):  # the first verdict on an index counts
                    self._settlement.decide(active, index, verdict, journal, now)
        if active.is_decided:
            self._end(active)

    def _end(self, active: ActiveLease) -> None:
        del self._active[active.id]
        active.backlog.lease_ended(active.id)


def _pick(
    progress: ChunkProgress,
    known: list[Delivery],
    max_events: int,
    max_bytes: int,
    exclude_users: frozenset[bytes],
    *,
    is_first: bool,
) -> tuple[Sequence[int], list[Delivery], bool]:
    """Positions and deliveries of a chunk that fit, and whether there is room for more."""
    unleased, chunk = progress.unleased, progress.chunk
    if unleased.bit_count() <= max_events and chunk.size <= max_bytes and not exclude_users:
        if unleased == full_mask(chunk.count):
            return range(chunk.count), known, True
        positions = bits_of(unleased)
        return positions, [known[position] for position in positions], True
    picked: list[int] = []
    taken: list[Delivery] = []
    size = 0
    for position in bits_of(unleased):
        delivery = known[position]
        if delivery.user_key in exclude_users:
            continue
        size += len(delivery.body)
        if len(taken) == max_events or (size > max_bytes and (taken or not is_first)):
            return picked, taken, False
        picked.append(position)
        taken.append(delivery)
    return picked, taken, True
