"""Connections that may be used again: how many, how long idle, and how old at most.

Pure: the time is an argument. Owns which connection is taken, and which have to go. Must not open
or read one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from destinations.kit.client.addresses import ServerAddress

#: Seconds that a connection is kept for the next request.
IDLE_S = 15.0
#: Seconds of a connection's life at most, between these: a name may lead elsewhere by now, which
#: traffic that never pauses would not notice. Jittered, so that not all begin anew at once.
LEAST_LIFE_S, MOST_LIFE_S = 60.0, 120.0


def lifetime_s() -> float:
    """How long a new connection may live, in seconds."""
    return random.uniform(LEAST_LIFE_S, MOST_LIFE_S)  # noqa: S311 - spreads load, keeps no secret


class Keepable(Protocol):
    """A connection, as far as keeping it goes."""

    address: ServerAddress
    until: float
    """The end of its life."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""

    def close(self) -> None:
        """End it."""


_Kept = TypeVar("_Kept", bound=Keepable)


class KeptConnections(Generic[_Kept]):
    """Idle connections by address, newest last. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._idle: dict[ServerAddress, deque[tuple[_Kept, float]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, address: ServerAddress, now: float) -> _Kept | None:
        """One to that address, the last that was used; None where a new one is needed."""
        idle = self._idle.get(address)
        while idle:
            connection, _ = idle.pop()
            self._count -= 1
            if connection.is_open and now < connection.until:
                return connection
            connection.close()
        return None

    def keep(self, connection: _Kept, now: float) -> None:
        """Keep a connection for the next request, unless its life is over."""
        if not connection.is_open or now >= connection.until:
            connection.close()
            return
        idle = self._idle.get(connection.address)
        if idle is None:
            idle = self._idle[connection.address] = deque()
        idle.append((connection, now))
        self._count += 1

    def drop_oldest(self) -> None:
        """Close one, of any address, for another to take its room."""
        for idle in self._idle.values():
            if idle:
                idle.popleft()[0].close()
                self._count -= 1
                return

    def sweep(self, now: float) -> None:
        """Close those that were idle too long, are too old, or were closed by their servers."""
        for address, idle in list(self._idle.items()):
            stays = deque(
                (connection, since)
                for connection, since in idle
                if connection.is_open and now < min(since + IDLE_S, connection.until)
            )
            for connection in self._others(idle, stays):
                connection.close()
            self._count += len(stays) - len(idle)
            if stays:
                self._idle[address] = stays
            else:
                del self._idle[address]

    def close(self) -> None:
        """Close all of them."""
        for idle in self._idle.values():
            for connection, _ in idle:
                connection.close()
        self._idle.clear()
        self._count = 0

    @staticmethod
    def _others(
        idle: deque[tuple[_Kept, float]], stays: deque[tuple[_Kept, float]]
    ) -> Iterator[_Kept]:
        staying = {id(connection) for connection, _ in stays}
        return (connection for connection, _ in idle if id(connection) not in staying)
