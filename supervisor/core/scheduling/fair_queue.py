"""Whose turn it is: fair queueing by virtual time.

Each connection has a time at which its next turn begins: that of its last one,
moved on by the events that it sent, divided by its weight. The earliest is
next. That is what deficit round robin comes close to; here it holds to the
event whatever the sizes of batches are, a batch waits for one of each other
connection and not for a whole round, and a decision costs the logarithm of how
many wait. Who was away begins now: nobody saves up turns.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from supervisor.core.scheduling.connection import ConnectionSchedule

#: Connections that are named at most where it is asked who waits.
ASKED = 16


@dataclass(slots=True)
class FairQueue:
    """Those that wait for their turn, earliest first; of equals, the one that came first."""

    now: float = 0.0
    _places: list[tuple[float, int, ConnectionSchedule]] = field(default_factory=list)
    _tickets: int = 0
    _left: int = 0

    def enter(self, schedule: ConnectionSchedule) -> None:
        """It has something to send; nothing happens where it waits already."""
        if schedule.ticket is not None:
            return
        schedule.turn = max(schedule.turn, self.now)
        self._tickets += 1
        schedule.ticket = self._tickets
        heapq.heappush(self._places, (schedule.turn, schedule.ticket, schedule))

    def leave(self, schedule: ConnectionSchedule) -> None:
        """It waits no more; its place is thrown away when it comes up."""
        if schedule.ticket is not None:
            schedule.ticket = None
            self._left += 1
            if self._left > len(self._places) // 2:
                self._places = [place for place in self._places if place[2].ticket == place[1]]
                heapq.heapify(self._places)
                self._left = 0

    def take(self) -> ConnectionSchedule | None:
        """The next one, which does not wait any more."""
        while self._places:
            _, ticket, schedule = heapq.heappop(self._places)
            if schedule.ticket != ticket:
                self._left -= 1
                continue
            schedule.ticket = None
            return schedule
        return None

    def others(self, connection: str) -> Iterator[str]:
        """Some that wait beside this connection: so few that it costs the same however many do."""
        waiting = (one.name for _, ticket, one in self._places if one.ticket == ticket)
        return islice((name for name in waiting if name != connection), ASKED)

    def begin(self, schedule: ConnectionSchedule) -> None:
        """It has its turn now: none that comes from here on is earlier."""
        self.now = max(self.now, schedule.turn)
