"""Whether a connection is held since its credentials are refused, and whose fault a refusal is.

A destination may refuse an event for its own sake or all of them for the credentials' sake, in the
same words. Two different events in a row that get it, with none passed between, are the
credentials'; so is what a token endpoint says by itself, with no event in the request. Then nothing
goes but one probe of one event a step of back-off, so that no event's retry window starts or runs.
An event that gets it again while others pass has failed alone. Certificates and host names, which
somebody has to mend as well, count in the same way. Pure: time and jitter are arguments.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto

#: Pauses between probes, in seconds: they double from the first to the last.
FIRST_S, MOST_S = 1.0, 300.0
#: Refused events that are remembered; one that is forgotten gets another attempt.
MOST_REFUSED = 256


class Refusal(Enum):
    """What a refusal is taken for, and so what becomes of the event that got it."""

    WAITS = auto()
    """The connection is held: as if it was never sent."""
    PROBED = auto()
    """The connection is held, and it was the probe: the next one is another event."""
    UNDECIDED = auto()
    """Nobody can tell yet: it is tried again, whatever its retry window says."""
    ALONE = auto()
    """Others pass: it is the event's."""


@dataclass(slots=True)
class CredentialsHold:
    """That of one connection. Times are seconds of the service's clock; an event is any number.

    `reason` is "" while it is not held. `ended_at` is when it was last let go: retry windows that
    ran before begin anew there.
    """

    reason: str = ""
    since: float = 0.0
    probe_at: float = 0.0
    ended_at: float = 0.0
    _asked_at: float = 0.0
    _steps: int = 0
    _pause_s: float = 0.0
    #: the event that was refused last, with none passed since
    _last: int | None = None
    #: events that were refused, with the start of the batch in which they first were
    _refused: OrderedDict[int, float] = field(default_factory=OrderedDict)
    #: the start of the youngest batch of which an event passed
    _passed: float = float("-inf")

    @property
    def is_held(self) -> bool:
        """Whether nothing goes but probes."""
        return bool(self.reason)

    def refused(
        self, event: int, why: str, *, is_certain: bool, started: float, now: float, jitter: float
    ) -> Refusal:
        """An event of a batch that was `started` then got it; `why` is not empty."""
        if started < self.ended_at:
            return Refusal.WAITS  # it went out before what was wrong was mended
        if self.is_held:
            if started < max(self.since, self._asked_at):
                return Refusal.WAITS
            self.reason = why
            self._pause(now, jitter)
            return Refusal.WAITS if is_certain else Refusal.PROBED
        if is_certain:
            self._hold(why, now, jitter)
            return Refusal.WAITS
        first = self._refused.get(event)
        # Its own batch counts: of events that were sent together, the others passed.
        if first is not None and self._passed >= first:
            del self._refused[event]
            return Refusal.ALONE
        if first is None:
            self._refused[event] = started
            if len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)
        if self._last is not None and self._last != event:
            self._hold(why, now, jitter)
            return Refusal.WAITS
        self._last = event
        return Refusal.UNDECIDED

    def passed(self, started: float, now: float) -> bool:
        """An event of a batch that was `started` then was delivered. Whether that ended the hold.

        What began before the hold says nothing of how things are since.
        """
        self._last = None
        self._passed = max(self._passed, started)
        if not self.is_held or started < self.since:
            return False
        self.release(now)
        return True

    def probe_began(self, now: float) -> None:
        """A batch goes out; while it is held that is the probe, and the next one waits a step."""
        if self.is_held:
            self.probe_at = now + self._pause_s

    def ask_now(self, now: float) -> None:
        """Somebody has mended something, or a probe came to nothing: the next one goes now."""
        self.probe_at, self._asked_at = min(self.probe_at, now), now

    def restore(self, since: float, reason: str, ended_at: float, now: float) -> None:
        """What an earlier run has left; a restart may have mended it, so a probe goes at once."""
        self.since, self.reason, self.ended_at, self.probe_at = since, reason, ended_at, now
        self._pause_s = FIRST_S

    def release(self, now: float) -> None:
        """Let it go: an event has passed, or an operator says that all is well."""
        if self.is_held:
            self.reason, self.ended_at, self._last = "", now, None

    def _hold(self, why: str, now: float, jitter: float) -> None:
        # Held again soon after it was let go: the pauses go on where they had left off.
        if now - self.ended_at > 2 * self._pause_s:
            self._steps = 0
        self.reason, self.since, self._last = why, now, None
        self._pause(now, jitter)

    def _pause(self, now: float, jitter: float) -> None:
        full_s = min(FIRST_S * 2.0 ** min(self._steps, 30), MOST_S)
        self._steps += 1
        self._pause_s = full_s * (0.5 + 0.5 * jitter)
        self.probe_at = now + self._pause_s
