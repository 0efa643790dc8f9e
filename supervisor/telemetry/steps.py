"""Long work on the event loop, cut into steps: between two of them everybody else has a turn.

Owns how long a step is. With ten thousand connections whatever looks at all of
them would otherwise stop intake and delivery for as long as that takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

#: Items of one step. What is done with one takes tens of microseconds, so a step takes a few
#: milliseconds.
STEP = 100


async def in_steps(items: Sequence[Item]) -> AsyncIterator[Sequence[Item]]:
    """`items`, so many at a time; few of them are one step, with no turn for anybody between."""
    for start in range(0, len(items), STEP):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + STEP]
