"""The order of a user's events: which may be sent now, which waits, which is promoted next.

For one connection with `ordering = "user"`. Of each user one event is on its
way at most. While that is its first attempt, what follows waits where it
stands, in the log. Once it has failed and waits for another attempt, it is the
user's *barrier*: what follows is *parked* behind it as it comes up, so that
other users' events go past it, and *promoted* one by one when the barrier is
done with, in the order in which it came up. Must not know events: users are
opaque keys, and two users that share one wait for each other, and nothing
worse. (rudder-server's `router/internal/eventorder` calls it a barrier, too.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


class Place(Enum):
    """What is to be done with the next event of a user."""

    SEND = auto()
    """Nothing of this user is on its way."""
    WAIT = auto()
    """One is, at its first attempt: the next one stays where it is."""
    PARK = auto()
    """One has failed and will be tried again: the next one is parked behind it."""


@dataclass(slots=True)
class UserOrder:
    """`barriers` has since when each user is held back (any clock's seconds), oldest first.

    `parked` counts what waits behind barriers. Users in `promoted` have a barrier that is still to
    be fetched: the first of what is parked, see `promotion_ended`.
    """

    running: set[bytes] = field(default_factory=set)
    barriers: dict[bytes, float] = field(default_factory=dict)
    parked: dict[bytes, int] = field(default_factory=dict)
    promoted: dict[bytes, None] = field(default_factory=dict)

    def place(self, user: bytes) -> Place:
        """Of the oldest event of a user that was never attempted."""
        if user in self.running:
            return Place.WAIT
        return Place.PARK if user in self.barriers else Place.SEND

    def began(self, user: bytes) -> None:
        """An event is on its way for the first time."""
        self.running.add(user)

    def park(self, user: bytes, now: float) -> None:
        """An event waits behind those of its user. Without a barrier, it is promoted itself."""
        self.parked[user] = self.parked.get(user, 0) + 1
        self._promote_if_free(user, now)

    def ended(self, user: bytes, now: float) -> None:
        """A first attempt is over: the event is done with, or is where it was before."""
        self.running.discard(user)
        self._promote_if_free(user, now)

    def failed(self, user: bytes, now: float) -> None:
        """A first attempt failed: the event will be tried again, and holds the others back."""
        self.running.discard(user)
        self.barriers.setdefault(user, now)

    def barrier_ended(self, user: bytes, now: float) -> None:
        """A barrier is done with."""
        self.barriers.pop(user, None)
        self._promote_if_free(user, now)

    def promotion_ended(self, user: bytes, *, found: bool) -> None:
        """The first of what was parked is the barrier now, or was not there any more."""
        self.promoted.pop(user, None)
        if found:
            self.unparked(user)
        else:
            self.barriers.pop(user, None)
            self.parked.pop(user, None)

    def unparked(self, user: bytes) -> None:
        """One of those that were parked is not any more."""
        left = self.parked.get(user, 0) - 1
        if left > 0:
            self.parked[user] = left
        else:
            self.parked.pop(user, None)

    @property
    def held_since(self) -> float | None:
        """Since when the user that is held back longest is."""
        return next(iter(self.barriers.values()), None)

    def _promote_if_free(self, user: bytes, now: float) -> None:
        """The first of what is parked is the barrier from now on, and has to be fetched."""
        if user in self.parked and user not in self.running and user not in self.barriers:
            self.barriers[user] = now
            self.promoted[user] = None
