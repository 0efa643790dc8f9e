"""How fast the retries of a connection may go: never faster than it has proven to take.

After an outage a destination has to take what was held up beside what comes
anyway, and falls over once more where both come at full speed. So retries
begin with a tenth of what it takes now, grow by a tenth a second while they
succeed, and in no second exceed what it has taken in the best of the last ones.
First attempts are not governed: they are what the destination takes on any day.
Where there are few of those, retries could prove nothing but what they are, and
thousands of them would take hours: up to a rate that is no flood they grow by
what was taken of themselves.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from supervisor.core.scheduling.token_bucket import TokenBucket, gathered

#: Seconds that count as recent.
RECENT_S = 10
#: What retries begin with, as a part of what is taken, and by how much they grow in a second.
BEGIN, GROWTH = 0.1, 1.1
#: Seconds' worth that may go at once after a quiet while. Rate and this together are what a second
#: can see, and that is what stays below what was proven.
AT_ONCE_S = 0.2
#: Events a second, and at once, that may always be tried again: nothing is proven by silence.
LEAST_PER_S, LEAST_AT_ONCE = 5.0, 10.0
#: Events a second up to which retries grow though nothing else is taken; no second has more.
MOST_UNPROVEN_PER_S = 100.0


@dataclass(slots=True)
class Second:
    """What was taken in one second: all of it, and the retries among it."""

    at: int
    taken: int = 0
    retries: int = 0


@dataclass(slots=True)
class RetryGovernor:
    """Times are seconds of the service's clock."""

    _seconds: deque[Second] = field(default_factory=deque)
    _bucket: TokenBucket = field(default_factory=TokenBucket)

    def delivered(self, n: int, *, retries: bool, now: float) -> None:
        """The destination took `n` events."""
        second = int(now)
        if not self._seconds or self._seconds[-1].at < second:
            self._seconds.append(Second(second))
            self._forget(now)
        self._seconds[-1].taken += n
        if retries:
            self._seconds[-1].retries += n

    def proven(self, now: float) -> float:
        """Events a second: what was taken in the best of the recent seconds."""
        return self._best(now)[0]

    def rate(self, now: float) -> float:
        """Events a second at which retries may go now."""
        proven, retried = self._best(now)
        most = max(proven, MOST_UNPROVEN_PER_S if retried else 0.0) / (1 + AT_ONCE_S)
        return max(LEAST_PER_S, min(most, max(BEGIN * proven, GROWTH * retried)))

    def wait_s(self, batch_events: int, now: float) -> float:
        """Seconds until a batch of retries may go."""
        rate = self.rate(now)
        need = gathered(rate, batch_events, batch_events)
        at_once = LEAST_AT_ONCE if rate <= LEAST_PER_S else max(1.0, AT_ONCE_S * rate)
        return self._bucket.wait_s(rate, at_once, need, now)

    @property
    def allowance(self) -> int:
        """Retries that may go now, as of the last `wait_s`."""
        return max(1, int(self._bucket.tokens))

    def spend(self, n: int) -> None:
        """So many retries go; negative: they did not go after all."""
        self._bucket.spend(n)

    def _best(self, now: float) -> tuple[float, float]:
        """What was taken in the best of the recent seconds that are over, and of retries."""
        self._forget(now)
        taken = retries = 0
        for second in self._seconds:
            if second.at < int(now):
                taken, retries = max(taken, second.taken), max(retries, second.retries)
        return float(taken), float(retries)

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].at < int(now) - RECENT_S:
            self._seconds.popleft()
