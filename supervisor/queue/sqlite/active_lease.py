"""A lease, as the engine knows it: what was leased, and which of it is undecided.

Owns `ActiveLease` and the way from a delivery's index to its event in a chunk. Must not know what
dispositions mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from supervisor.queue import Delivery
from supervisor.queue.sqlite.backlog import ConnectionBacklog
from supervisor.queue.sqlite.chunk_progress import ChunkProgress
from supervisor.queue.sqlite.retry_heap import RetryEntry


@dataclass(slots=True)
class LeaseSegment:
    """Part of a lease: `positions[i]` of the progress' chunk is delivery `base + i`."""

    base: int
    progress: ChunkProgress
    positions: Sequence[int]
    mask: int


class ActiveLease:
    """A lease that is not over. Fresh deliveries have segments, retries have entries."""

    __slots__ = (
        "_expires_at",
        "_undecided",
        "backlog",
        "deliveries",
        "entries",
        "id",
        "leased_at",
        "segments",
        "size_bytes",
    )

    def __init__(
        self,
        number: int,
        backlog: ConnectionBacklog,
        leased_at: float,
        expires_at: float,
        deliveries: Sequence[Delivery],
        size_bytes: int,
        *,
        segments: Sequence[LeaseSegment] = (),
        entries: Sequence[RetryEntry] = (),
    ) -> None:
        self.id = number
        self.backlog = backlog
        self.leased_at = leased_at
        self.deliveries = deliveries
        self.size_bytes = size_bytes
        self.segments = segments
        self.entries = entries
        self._expires_at = expires_at
        # One byte a delivery, 1 until it is decided.
        self._undecided = bytearray(b"\1") * len(deliveries)

    @property
    def expires_at(self) -> float:
        """When it is over, whatever is undecided; epoch seconds of the service's clock."""
        return self._expires_at

    def extend(self, until: float) -> None:
        """It is over at another time."""
        self._expires_at = until

    @property
    def is_decided(self) -> bool:
        """No delivery is left to decide."""
        return 1 not in self._undecided

    def undecided(self) -> Iterator[int]:
        """Deliveries of which nothing was said yet."""
        at = self._undecided.find(1)
        while at >= 0:
            yield at
            at = self._undecided.find(1, at + 1)

    def decide(self, index: int) -> bool:
        """A delivery is decided; False where it was already."""
        if not self._undecided[index]:
            return False
        self._undecided[index] = 0
        return True

    def decide_all(self, indices: Sequence[int]) -> bool:
        """Every delivery is decided at once; False, and nothing done, where that is not so."""
        n = len(self._undecided)
        if not self._undecided.count(1) == n == len(indices) == len(set(indices)):
            return False
        self._undecided = bytearray(n)
        return True

    def segment_of(self, index: int) -> LeaseSegment:
        """The part of a fresh lease that delivery `index` is in."""
        segments = self.segments
        low, high = 0, len(segments)
        while high - low > 1:
            middle = (low + high) // 2
            if segments[middle].base <= index:
                low = middle
            else:
                high = middle
        return segments[low]
