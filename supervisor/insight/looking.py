"""The inferred schema's look at the tap: each second, in slices, for so long at most.

Owns how much of the event loop's time it takes, and that every source has its turn. What it does
not come to is not looked at: it is a sample of a sample.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from supervisor.insight.shapes import Shapes
from supervisor.insight.tap import Tap, TapRow

#: Seconds between two looks; of CPU that one may take in all, and until others have a turn.
EVERY_S: Final = 1.0
LOOK_S, SLICE_S = 0.01, 0.001


class Looking:
    """That of one service."""

    def __init__(self, tap: Tap, shapes: Shapes) -> None:
        self._tap = tap
        self._shapes = shapes
        self._seen = tap.newest
        self._turn = 0

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Look at what came since the last look, one event of each source in turn."""
        new: dict[str, deque[TapRow]] = {}
        for source, row in self._tap.since(self._seen):
            new.setdefault(source, deque()).append(row)
        self._seen = self._tap.newest
        waiting = deque(new.items())
        waiting.rotate(self._turn)
        self._turn += 1
        left_s = LOOK_S
        while waiting and left_s > 0:
            began = time.thread_time()
            while waiting and (spent_s := time.thread_time() - began) < SLICE_S:
                source, rows = waiting.popleft()
                row = rows.popleft()
                if row.body is not None:
                    self._shapes.look(source, row.type, row.body, row.at)
                if rows:
                    waiting.append((source, rows))
            left_s -= max(spent_s, SLICE_S / 10)
            await asyncio.sleep(0)
