"""How long a worker may write its stacks, asked or at its end.

Owns that limit, by time that counts, and when they are whole. Must not signal anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from supervisor.core.counted_time import CpuTimes
from supervisor.workers.marker_page import MarkerPage
from supervisor.workers.patience import Patience

#: Seconds that a worker may take to write its stacks and end, before it is killed without them.
#: They count by time that it had a CPU, and so many at most in all.
STACKS_S, STACKS_MOST_S = 0.5, 10.0
#: Seconds between two looks at stacks that are being written.
STACKS_LOOK_S = 0.005


def limit(times: Callable[[], CpuTimes], then: Callable[[], object]) -> Patience:
    """Call `then` where a worker has had enough time for them, if that is not cancelled."""
    return Patience(STACKS_S, times, then, most_s=STACKS_MOST_S)


async def written(page: MarkerPage, times: Callable[[], CpuTimes]) -> str:
    """What a worker writes that was just asked; "" where it wrote none in its time."""
    late = asyncio.Event()
    patience = limit(times, late.set)
    size = 0
    while not late.is_set():
        await asyncio.sleep(STACKS_LOOK_S)
        # faulthandler does not say when it is done: it is when nothing is added any more.
        size, before = page.stacks_bytes, size
        if size and size == before:
            break
    patience.cancel()
    return page.stacks()
