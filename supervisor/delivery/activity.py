"""What of a pool is under way between the queue and its workers, so that it can be awaited.

Owns a count. Must not know what is counted.
"""

from __future__ import annotations

import asyncio


class Activity:
    """Begun and ended as often as its user says; for the event loop's thread."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return not self._count

    def began(self) -> None:
        """One more is under way."""
        self._count += 1
        self._idle.clear()

    def ended(self) -> None:
        """One is over. Raises ValueError where none was under way: a bug of its user."""
        if not self._count:
            raise ValueError("more has ended than had begun")
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def idle(self) -> None:
        """Return once nothing is under way."""
        while self._count:
            await self._idle.wait()
