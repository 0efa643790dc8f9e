"""How many batches of a connection run at once: it is found out, not configured.

Additive up while answers are good, halved on 429, timeouts and connection
errors. It begins low, and is not raised where more at once only makes each
slower: the destination, or the worker that speaks to it, then has a queue
already (TCP Vegas reckons its length in the same way). `max_concurrency` is
the ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Batches at once to begin with.
START = 2.0
#: Batches that may wait at the other end before the limit is raised no further.
QUEUED = 2.0
#: Seconds after which the best times are found out anew, with few batches at once: things change.
RENEW_S = 300.0
#: A batch of which at least this part met a limit of the destination says that it is too much.
CONGESTED_SHARE = 0.1


@dataclass(slots=True)
class Concurrency:
    """`limit` is batches at once, with a fraction that grows. Times are seconds."""

    limit: float = START
    _halved_at: float = float("-inf")
    #: By size of the batch (as a power of two): its best time.
    _best: dict[int, float] = field(default_factory=dict)
    _renewed_at: float | None = None

    def allows(self, inflight: int, most: int) -> bool:
        """Whether another batch may go beside `inflight`."""
        return inflight < max(1, min(int(self.limit), most))

    def finished(
        self, *, events: int, congested: int, good: bool, inflight: int, most: int,
        started: float, now: float,
    ) -> None:  # fmt: skip
        """A batch of `events` is over; `congested` of them met a limit. `inflight` counts it."""
        if congested:
            if congested >= events * CONGESTED_SHARE and started >= self._halved_at:
                # Batches that ran side by side met one and the same limit.
                self.limit = max(1.0, min(self.limit, float(most)) / 2)
                self._halved_at = now
            return
        if not good:
            return
        if self._renewed_at is None or now - self._renewed_at > RENEW_S:
            self._renewed_at = now
            self._best.clear()
            self.limit = min(self.limit, START)
        queued = self.limit * (1.0 - self._share_of_best(events, now - started))
        is_in_use = inflight >= int(self.limit)
        if is_in_use and queued < QUEUED and self.limit < most:
            self.limit += 1.0 / self.limit

    def ramp(self) -> None:
        """The destination is back after an outage: one at a time to begin with."""
        self.limit = 1.0

    def _share_of_best(self, events: int, took_s: float) -> float:
        """The best time of a batch of this size, as a share of this one's."""
        size = events.bit_length()
        best_s = self._best.get(size)
        if best_s is not None and best_s < took_s:
            return best_s / took_s
        self._best[size] = took_s
        return 1.0
