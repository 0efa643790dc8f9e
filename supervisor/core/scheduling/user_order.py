"""The order of a user's events: who may be sent now, who waits, who is called next.

For one connection with `ordering = "user"`. Of each user one event is on its
way at most. While that is its first attempt, what follows waits where it
stands, in the log. Once it has failed and waits for another attempt, it is the
user's *head*: what follows is put aside behind it as it comes up, so that it
is in nobody's way, and called one by one when the head is done with, in the
order in which it came up. Must not know events: users are opaque keys, and two
users that share one wait for each other, and nothing worse.
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
    ASIDE = auto()
    """One has failed and will be tried again: the next one is put aside behind it."""


@dataclass(slots=True)
class UserOrder:
    """`heads` has since when each user is held back (any clock's seconds), oldest first.

    `aside` counts what waits behind heads. Users in `called` have no head any
    more: the first of what was put aside is to take its place, see `came`.
    """

    running: set[bytes] = field(default_factory=set)
    heads: dict[bytes, float] = field(default_factory=dict)
    aside: dict[bytes, int] = field(default_factory=dict)
    called: dict[bytes, None] = field(default_factory=dict)

    def place(self, user: bytes) -> Place:
        """Of the oldest event of a user that was never attempted."""
        if user in self.running:
            return Place.WAIT
        return Place.ASIDE if user in self.heads else Place.SEND

    def began(self, user: bytes) -> None:
        """An event is on its way for the first time."""
        self.running.add(user)

    def put_aside(self, user: bytes, now: float) -> None:
        """An event waits behind those of its user. Without a head, it is called itself."""
        self.aside[user] = self.aside.get(user, 0) + 1
        self._call_if_free(user, now)

    def ended(self, user: bytes, now: float) -> None:
        """A first attempt is over: the event is done with, or is where it was before."""
        self.running.discard(user)
        self._call_if_free(user, now)

    def failed(self, user: bytes, now: float) -> None:
        """A first attempt failed: the event will be tried again, and holds the others back."""
        self.running.discard(user)
        self.heads.setdefault(user, now)

    def head_ended(self, user: bytes, now: float) -> None:
        """A head is done with."""
        self.heads.pop(user, None)
        self._call_if_free(user, now)

    def came(self, user: bytes, *, found: bool) -> None:
        """Who was called is the head now, or was not there any more."""
        self.called.pop(user, None)
        if found:
            self.taken_from_aside(user)
        else:
            self.heads.pop(user, None)
            self.aside.pop(user, None)

    def taken_from_aside(self, user: bytes) -> None:
        """One of those that were put aside is not any more."""
        left = self.aside.get(user, 0) - 1
        if left > 0:
            self.aside[user] = left
        else:
            self.aside.pop(user, None)

    @property
    def held_since(self) -> float | None:
        """Since when the user that is held back longest is."""
        return next(iter(self.heads.values()), None)

    def _call_if_free(self, user: bytes, now: float) -> None:
        """The first of what waits is the head from now on, and has to be fetched."""
        if user in self.aside and user not in self.running and user not in self.heads:
            self.heads[user] = now
            self.called[user] = None
