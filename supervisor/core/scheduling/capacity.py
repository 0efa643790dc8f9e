"""The workers of a pool as the scheduler sees them: credits, and how many anyone may hold.

A connection may hold twice what would be its share by weight among those that
are busy now, so that one which hangs on all its attempts leaves the others most
of the pool; the last eighth of the credits is for connections that hold none,
so that also the first batch of a newcomer finds a place. A worker may be given
to one connection alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: How often its share by weight a connection may hold.
SHARES = 2.0
#: One credit in so many is kept for connections that hold none.
KEPT = 8
#: Probes of connections whose breaker is open hold at most one credit in so many.
PROBES = 4


@dataclass(slots=True)
class Capacity:
    """`credits` are batches that each worker still takes, those of dedicated workers included.

    `dedicated` are workers that one connection has for itself, with its name.
    """

    credits: dict[int, int] = field(default_factory=dict)
    dedicated: dict[int, str] = field(default_factory=dict)
    #: of the workers that all connections share: credits granted, and left
    total: int = 0
    free: int = 0
    _granted: dict[int, int] = field(default_factory=dict)
    _used: dict[int, int] = field(default_factory=dict)
    _turn: int = 0

    def came(self, worker: int, credits: int) -> None:
        """A worker serves."""
        self.left(worker)
        self.credits[worker] = self._granted[worker] = credits
        self._used[worker] = 0
        if worker not in self.dedicated:
            self.total += credits
            self.free += credits

    def granted(self, worker: int, credits: int) -> None:
        """It takes so many batches at once from now on; it may have more, which finish."""
        if worker in self.credits:
            self._share_out(worker, -1)
            self.credits[worker] += credits - self._granted[worker]
            self._granted[worker] = credits
            self._share_out(worker, 1)

    def left(self, worker: int) -> None:
        """It takes no more batches. It stays dedicated until that is undone."""
        if worker in self.credits:
            self._share_out(worker, -1)
            del self.credits[worker], self._granted[worker], self._used[worker]

    def dedicate(self, worker: int, connection: str) -> None:
        """Give a worker to one connection."""
        if worker in self.credits:
            self._share_out(worker, -1)
        self.dedicated[worker] = connection

    def give_to_all(self, worker: int) -> None:
        """All connections may use it again."""
        if self.dedicated.pop(worker, None) is not None and worker in self.credits:
            self._share_out(worker, 1)

    def _share_out(self, worker: int, sign: int) -> None:
        if worker not in self.dedicated:
            self.total += sign * self._granted[worker]
            self.free += sign * max(0, self.credits[worker])

    def take(self, worker: int) -> None:
        """A batch goes to a worker."""
        # One that has more than it is granted has nothing left, and takes nothing from the others.
        if worker not in self.dedicated and self.credits[worker] > 0:
            self.free -= 1
        self.credits[worker] -= 1
        self._turn += 1
        self._used[worker] = self._turn

    def give_back(self, worker: int) -> None:
        """A batch is over; of a worker that has left it means nothing."""
        if worker in self.credits:
            self.credits[worker] += 1
            if worker not in self.dedicated and self.credits[worker] > 0:
                self.free += 1

    def freest(self) -> int | None:
        """The shared worker with most credits left, so that work spreads; the most rested of them.

        A newcomer is the most rested of all: it shows at once whether it works.
        """
        if self.free <= 0:
            return None
        used, dedicated = self._used, self.dedicated
        worker = max(
            (number for number in self.credits if number not in dedicated),
            key=lambda number: (self.credits[number], -used[number]),
            default=None,
        )
        return worker if worker is not None and self.credits[worker] > 0 else None

    def has_place(self, worker: int) -> bool:
        """Whether a worker that all connections share takes another batch."""
        return worker not in self.dedicated and self.credits.get(worker, 0) > 0

    @property
    def kept(self) -> int:
        """Credits that are for connections which hold none."""
        return self.total // KEPT

    def share(self, weight: int, of: int) -> int:
        """Batches that a connection may hold; `of` is the weight of all that are busy."""
        most = self.total - self.kept
        return max(1, min(most, int(SHARES * self.total * weight / max(of, weight))))

    @property
    def probes(self) -> int:
        """Batches that probes may hold together."""
        return max(1, self.total // PROBES)
