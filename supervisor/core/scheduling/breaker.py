"""The circuit breaker of a connection: closed, open, half-open.

It opens after batches in a row of which nothing was delivered, if enough events
were in them, or by hand (a connection whose batches keep killing workers). While
it is open nothing goes; then one small batch at a time asks whether the
destination is well again, and the pause doubles as long as it is not. One that
opens again soon after it was closed goes on with the pauses where it had left off.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class BreakerState(Enum):
    """Where a breaker stands."""

    CLOSED = auto()
    OPEN = auto()
    """Nothing goes before `probe_at`; from then on it is as good as half-open."""
    HALF_OPEN = auto()
    """A probe was let through, and nothing is known of it yet."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens after `failures_allowed` batches; pauses double from `first_s` up to `most_s`.

    `events_least` have to be among those batches: a few events that fail over and
    over, each on its own, say more of themselves than of the destination.
    Hystrix asks for as many requests (`circuitBreaker.requestVolumeThreshold`).
    https://github.com/Netflix/Hystrix/wiki/Configuration#circuitBreaker.requestVolumeThreshold
    """

    failures_allowed: int = 3
    events_least: int = 20
    first_s: float = 1.0
    most_s: float = 60.0


@dataclass(slots=True)
class Breaker:
    """Times are seconds of the service's clock; `reason` is "" while it is closed."""

    policy: BreakerPolicy = BreakerPolicy()
    state: BreakerState = BreakerState.CLOSED
    reason: str = ""
    since: float | None = None
    probe_at: float = 0.0
    trips: int = 0
    failures: int = 0
    _events: int = 0
    _failed_at: float | None = None
    _openings: int = 0
    _pause_s: float = 0.0
    _closed_at: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether batches go as usual."""
        return self.state is BreakerState.CLOSED

    def is_open(self, now: float) -> bool:
        """Whether nothing may go yet."""
        return self.state is BreakerState.OPEN and now < self.probe_at

    def probe_began(self) -> None:
        """A batch went out; of an open breaker that is the probe."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN

    def succeeded(self, started: float, now: float) -> bool:
        """A batch, `started` then, was taken. Whether that has closed the breaker.

        What began before the trip says nothing of how things are since.
        """
        self.failures = self._events = 0
        if self.state is BreakerState.CLOSED or (self.since is not None and started < self.since):
            return False
        self._close(now)
        return True

    def failed(self, events: int, why: str, started: float, now: float, jitter: float) -> bool:
        """Nothing of a batch of `events` was taken. Whether that has opened the breaker (again)."""
        self._events += events
        if self._failed_at is not None and started < self._failed_at:
            return False  # batches that ran side by side fail for one cause, and count once
        self._failed_at = now
        match self.state:
            case BreakerState.CLOSED:
                self.failures += 1
                policy = self.policy
                if self.failures < policy.failures_allowed or self._events < policy.events_least:
                    return False
                said = f": {why}" if why else ""
                self._open(
                    f"nothing delivered in {self.failures} batches in a row{said}", now, jitter
                )
                return True
            case BreakerState.HALF_OPEN:
                said = f": {why}" if why else ""
                self._open(f"nothing delivered in the last probe{said}", now, jitter)
                return True
            case BreakerState.OPEN:
                return False

    def trip(self, reason: str, now: float, jitter: float) -> bool:
        """Open it by hand; one that is open keeps its pause and takes the reason.

        Whether that has opened it (again).
        """
        match self.state:
            case BreakerState.OPEN:
                self.reason = reason
                return False
            case BreakerState.CLOSED | BreakerState.HALF_OPEN:
                self._open(reason, now, jitter)
                return True

    def ask_now(self, now: float) -> None:
        """An operator wants one probe now."""
        self.probe_at = min(self.probe_at, now)

    def reset(self) -> None:
        """An operator says that all is well: as if nothing had ever failed."""
        self.state, self.reason, self.since = BreakerState.CLOSED, "", None
        self.failures, self._events = 0, 0
        self._openings, self._closed_at = 0, None

    def _open(self, reason: str, now: float, jitter: float) -> None:
        if self.state is BreakerState.CLOSED:
            self.since = now
            self.trips += 1
            if self._closed_at is None or now - self._closed_at > 2 * self._pause_s:
                self._openings = 0
        self.state, self.reason = BreakerState.OPEN, reason
        full = min(self.policy.first_s * 2.0 ** min(self._openings, 30), self.policy.most_s)
        self._openings += 1
        self._pause_s = full * (0.5 + 0.5 * jitter)
        self.probe_at = now + self._pause_s

    def _close(self, now: float) -> None:
        self.state, self.reason, self.since = BreakerState.CLOSED, "", None
        self._closed_at = now
