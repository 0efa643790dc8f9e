"""Who may renew a token that a partner takes once: one worker at a time, for a limited time.

Decides for one connection. Whoever asks while another renews has to wait; a holder that dies, hangs
past its limit or gives up makes room for the next. Pure: times are arguments. Must not know
what a token is, or who keeps it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

#: Seconds for which a worker has the right to renew.
GRANT_S = 60.0
#: Rights that a connection is given within so many seconds, at most: each is a write and a request.
MOST_GRANTS, WITHIN_S = 10, 60.0


class Turn(Enum):
    """What becomes of a worker that asks for the right to renew."""

    GRANTED = auto()
    """It has the right; `RenewalRight.grant` is its number."""
    WAITS = auto()
    """Another worker has it."""
    REFUSED = auto()
    """It was given too often of late."""


@dataclass(slots=True)
class RenewalRight:
    """The right of one connection; workers are numbers. Times are seconds of any one clock.

    `holder` is None where nobody has the right now; `given_to` is who had it last.
    """

    grant: int = 0
    holder: int | None = None
    given_to: int | None = None
    until: float = 0.0
    _given: deque[float] = field(default_factory=deque)

    def ask(self, worker: int, now: float) -> Turn:
        """A worker wants to renew. One that has the right already begins anew."""
        if self.holder is not None and self.holder != worker:
            return Turn.WAITS
        while self._given and self._given[0] <= now - WITHIN_S:
            self._given.popleft()
        if len(self._given) >= MOST_GRANTS:
            self.holder = None
            return Turn.REFUSED
        self._given.append(now)
        self.grant += 1
        self.holder = self.given_to = worker
        self.until = now + GRANT_S
        return Turn.GRANTED

    def lapsed(self, now: float) -> bool:
        """Whether the holder's time is over; then it has the right no more."""
        if self.holder is None or now < self.until:
            return False
        self.holder = None
        return True

    def may_keep(self, worker: int, grant: int) -> bool:
        """Whether what a worker has renewed is to be kept.

        One that is late is heard as long as nobody was given the right after it: the partner has
        taken its refresh token, and what it got is the only one that is good.
        """
        return grant == self.grant and worker == self.given_to

    def ended(self, worker: int, grant: int) -> bool:
        """It has kept, or given up, which it may do once. Whether it could."""
        if not self.may_keep(worker, grant):
            return False
        self.holder = self.given_to = None
        return True

    def gone(self, worker: int) -> bool:
        """A worker has ended. Whether it had the right."""
        if self.holder != worker:
            return False
        self.holder = None
        return True

    def void(self) -> None:
        """What was to be renewed is another thing now: no right that was given counts any more."""
        self.holder = self.given_to = None
