"""How far each source may fill the queue: when it is nearly full, the largest are refused first.

Owns the shares of sources. What is left near the end is for sources that use
less than an equal part, so that one source that floods gets 429 while the
others are still taken. Reads memory only.
"""

from __future__ import annotations

from supervisor.queue.sqlite.memory import QueueMemory
from supervisor.runtime.clock import Clock

#: Part of `max_pending` up to which any source may fill the queue.
OPEN_TO_ALL = 0.95
#: Seconds for which a look at all sources is good enough.
LOOK_EVERY_S = 1.0


class Backpressure:
    """`max_pending` is bytes. For the event loop's thread."""

    def __init__(self, memory: QueueMemory, max_pending: int, clock: Clock) -> None:
        self._memory = memory
        self._max_pending = max_pending
        self._clock = clock
        self._looked_at = float("-inf")
        self._used: dict[int, int] = {}

    def limit(self, source: int, used: int) -> int:
        """Bytes up to which the queue may be filled by this source; `used` is what it holds now."""
        open_to_all = int(OPEN_TO_ALL * self._max_pending)
        if used < open_to_all:
            return self._max_pending
        now = self._clock()
        if not self._looked_at <= now < self._looked_at + LOOK_EVERY_S:
            self._look(now)
        share = self._max_pending // max(1, len(self._used))
        return open_to_all if self._used.get(source, 0) > share else self._max_pending

    def _look(self, now: float) -> None:
        """What each source has pending: an event that goes to several connections is there once."""
        self._looked_at = now
        self._used = {}
        for source, backlogs in self._memory.by_source.items():
            if most := max((backlog.pending_bytes for backlog in backlogs), default=0):
                self._used[source] = most
