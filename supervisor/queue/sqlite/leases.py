"""Leases: who holds what until when, and what a lease takes.

Owns the lease table and the picking of deliveries, on memory alone; what
becomes of them is decided in `settlement.py`. Must not do I/O: what is missing
in memory its caller fetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import repeat

from supervisor.core.ordering import Place, UserOrder
from supervisor.queue import Delivered, Delivery, Lease, LeaseExpired, Release, Verdict
from supervisor.queue.sqlite.backlog import Chunk, Due, Held, Lane, Segment, Share
from supervisor.queue.sqlite.chunks import bits_of, full_mask, mask_of
from supervisor.queue.sqlite.journal import Journal
from supervisor.queue.sqlite.memory import Memory
from supervisor.queue.sqlite.settlement import LeaseSettlement

#: Deliveries that a lease in order looks at: more that cannot go yet have to wait for those.
LOOKED_AT = 2048
#: Payload bytes that are read ahead of what a lease needs.
READ_AHEAD_BYTES = 1024 * 1024


class Leases:
    """All leases."""

    def __init__(self, memory: Memory, settlement: LeaseSettlement) -> None:
        self._memory = memory
        self._settlement = settlement
        self._held: dict[int, Held] = {}
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
            held = self._held.get(lease_id)
            if held is None:
                continue
            if held.expires_at > now:  # extended since
                heappush(self._expiry, (held.expires_at, lease_id))
                continue
            for index in list(held.open_indices()):
                self._settlement.decide(held, index, Release(), journal, now)
            self._end(held)

    def extend(self, lease: Lease, until: float) -> None:
        """Hold a lease longer. Raises LeaseExpired."""
        self._of(lease).expires_at = until
        heappush(self._expiry, (until, lease.id))

    def leased_of(self, lane: Lane) -> dict[int, int]:
        """What of a connection's chunks is leased: masks by chunk id."""
        return {
            chunk.id: share.left & ~share.todo
            for chunk in self._memory.chunks.values()
            if (share := chunk.shares.get(lane.id)) is not None
            and share.is_held
            and share.left & ~share.todo
        }

    def _of(self, lease: Lease) -> Held:
        held = self._held.get(lease.id)
        if held is None:
            raise LeaseExpired(
                f"lease {lease.id} of {lease.connection} is over: what it held is pending again"
            )
        return held

    def _hold(
        self, lane: Lane, deliveries: Sequence[Delivery], size: int, now: float, term_s: float
    ) -> Held:
        while self._expiry and self._expiry[0][1] not in self._held:
            heappop(self._expiry)
        self._last_id += 1
        n = len(deliveries)
        held = Held(
            self._last_id, lane, now, now + term_s, deliveries, bytearray(repeat(1, n)), size
        )
        self._held[held.id] = held
        lane.leases[held.id] = deliveries[0].received_at
        heappush(self._expiry, (held.expires_at, held.id))
        return held

    # --- taking ---

    def missing(self, lane: Lane, max_events: int) -> list[Chunk]:
        """Chunks whose payload a lease wants and memory does not have, and some that follow."""
        found: list[Chunk] = []
        events = size = 0
        for share in lane.window:
            if events >= max_events and (not found or size >= READ_AHEAD_BYTES):
                break
            if share.chunk.deliveries is None:
                found.append(share.chunk)
                size += share.chunk.size
            events += share.todo.bit_count()
        return found

    def take_fresh(
        self,
        lane: Lane,
        now: float,
        *,
        max_events: int,
        max_bytes: int,
        term_s: float,
        exclude_users: frozenset[bytes],
    ) -> Lease | None:
        """Lease the oldest fresh deliveries whose payload is in memory."""
        segments: list[Segment] = []
        deliveries: list[Delivery] = []
        size = 0
        for share in lane.window:
            known = share.chunk.deliveries
            if known is None or len(deliveries) >= max_events or (size and size >= max_bytes):
                break
            positions, taken, has_room = _pick(
                share,
                known,
                max_events - len(deliveries),
                max_bytes - size,
                exclude_users,
                is_first=not deliveries,
            )
            if taken:
                mask = share.todo if len(taken) == share.todo.bit_count() else mask_of(positions)
                segments.append(Segment(len(deliveries), share, positions, mask))
                deliveries = deliveries + taken if deliveries else taken
                size += sum(len(delivery.body) for delivery in taken)
            if not has_room:
                break
        if not segments:
            return None
        for segment in segments:
            share = segment.share
            share.todo &= ~segment.mask
            if not share.todo:
                lane.unlist(share)
        held = self._hold(lane, deliveries, size, now, term_s)
        held.segments = segments
        lane.fresh -= len(deliveries)
        lane.leased += len(deliveries)
        return Lease(held.id, lane.name, held.expires_at, deliveries)

    def take_ordered(
        self,
        lane: Lane,
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

        What waits behind a retry is put aside on the way. The answer is a chunk
        where its payload is missing to go on.
        """
        segments: list[Segment] = []
        deliveries: list[Delivery] = []
        size = looked = 0
        missing: Chunk | None = None
        for share in list(lane.window):
            known = share.chunk.deliveries
            if known is None:
                missing = share.chunk
                break
            positions: list[int] = []
            base = len(deliveries)
            for position in bits_of(share.todo):
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
                    share.todo &= ~(1 << position)
                    self._settlement.put_aside(lane, share, position, delivery, journal, now)
            if positions:
                mask = mask_of(positions)
                share.todo &= ~mask
                segments.append(Segment(base, share, positions, mask))
            if not share.todo:
                lane.unlist(share)
            if looked >= LOOKED_AT:
                break
        if not segments:
            return missing
        held = self._hold(lane, deliveries, size, now, term_s)
        held.segments = segments
        lane.fresh -= len(deliveries)
        lane.leased += len(deliveries)
        return Lease(held.id, lane.name, held.expires_at, deliveries)

    def running_users(self, lane: Lane) -> set[bytes]:
        """Users of a connection that have a first attempt on its way."""
        return {
            held.deliveries[index].user_key
            for held in self._held.values()
            if held.lane is lane and held.segments
            for index in held.open_indices()
        }

    def take_retries(
        self, lane: Lane, entries: list[Due], deliveries: list[Delivery], now: float, term_s: float
    ) -> Lease:
        """Lease retries that were taken off the heap with `reserve`."""
        size = sum(len(delivery.body) for delivery in deliveries)
        held = self._hold(lane, deliveries, size, now, term_s)
        held.entries = entries
        return Lease(held.id, lane.name, held.expires_at, deliveries)

    def reserve(self, lane: Lane, now: float, most: int) -> list[Due]:
        """Retries that are due, counted as leased while they are read."""
        entries = lane.take_due(now, most)
        self._memory.retries_loaded -= len(entries)
        lane.leased_retries.update(entry[1] for entry in entries)
        lane.retrying -= len(entries)
        lane.leased += len(entries)
        return entries

    def unreserve(self, lane: Lane, entries: Sequence[Due]) -> None:
        """They are not leased after all."""
        for entry in entries:
            lane.leased_retries.discard(entry[1])
            self._memory.retries_loaded += 1
            heappush(lane.due, entry)
        lane.retrying += len(entries)
        lane.leased -= len(entries)

    # --- settling ---

    def settle(
        self, lease: Lease, verdicts: Sequence[tuple[int, Verdict]], journal: Journal, now: float
    ) -> None:
        """Decide deliveries. Raises LeaseExpired, and IndexError before anything is decided."""
        held = self._of(lease)
        size = len(held.undecided)
        is_all_delivered = True
        for index, verdict in verdicts:
            if not 0 <= index < size:
                raise IndexError(f"lease {lease.id} has no delivery {index}, it has {size}")
            if type(verdict) is not Delivered:
                is_all_delivered = False
        if is_all_delivered and held.segments and held.lane.order is None:
            self._settlement.delivered(held, [index for index, _ in verdicts], journal)
        else:
            for index, verdict in verdicts:
                if held.undecided[index]:  # the first verdict on an index counts
                    self._settlement.decide(held, index, verdict, journal, now)
        if 1 not in held.undecided:
            self._end(held)

    def _end(self, held: Held) -> None:
        del self._held[held.id]
        del held.lane.leases[held.id]


def _pick(
    share: Share,
    known: list[Delivery],
    max_events: int,
    max_bytes: int,
    exclude_users: frozenset[bytes],
    *,
    is_first: bool,
) -> tuple[Sequence[int], list[Delivery], bool]:
    """Positions and deliveries of a share that fit, and whether there is room for more."""
    todo, chunk = share.todo, share.chunk
    if todo.bit_count() <= max_events and chunk.size <= max_bytes and not exclude_users:
        if todo == full_mask(chunk.count):
            return range(chunk.count), known, True
        positions = bits_of(todo)
        return positions, [known[position] for position in positions], True
    picked: list[int] = []
    taken: list[Delivery] = []
    size = 0
    for position in bits_of(todo):
        delivery = known[position]
        if delivery.user_key in exclude_users:
            continue
        size += len(delivery.body)
        if len(taken) == max_events or (size > max_bytes and (taken or not is_first)):
            return picked, taken, False
        picked.append(position)
        taken.append(delivery)
    return picked, taken, True
