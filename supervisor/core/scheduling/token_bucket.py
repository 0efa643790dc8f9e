"""A token bucket: so many events a second, and some at once after a quiet while.

Owns the tokens only; the rate may differ from call to call, since the one that
is proven changes all the time. Times are seconds of any clock that does not go
back.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds' worth of events that a batch waits for, so that a limit does not cut batches to crumbs.
GATHER_S = 0.1
#: Part of an event that is not waited for.
TRIFLE = 0.001


@dataclass(slots=True)
class TokenBucket:
    """Starts full."""

    tokens: float = 0.0
    at: float | None = None

    def wait_s(self, rate: float, most: float, need: float, now: float) -> float:
        """Seconds until `need` events may go at `rate` a second; 0 where they may go now.

        The bucket holds `most` at most, and a caller that needs more waits for a full one.
        """
        self.fill(rate, most, now)
        missing = min(need, most) - self.tokens
        # Rounding may leave a trifle missing at the very time that was reckoned for it.
        return missing / rate if missing > TRIFLE else 0.0

    def fill(self, rate: float, most: float, now: float) -> None:
        """Let time pass."""
        if self.at is None:
            self.tokens = most
        else:
            self.tokens = min(most, self.tokens + max(0.0, now - self.at) * rate)
        self.at = now

    def spend(self, n: float) -> None:
        """So many events go; negative: they did not go after all."""
        self.tokens -= n


def gathered(rate: float, available: int, batch_events: int) -> int:
    """How many events to wait for: a tenth of a second's worth, of what there is."""
    return max(1, min(int(rate * GATHER_S), available, batch_events))
