"""Has a worker's copy count who holds its memory, and reads the answer.

Owns the bounds of that answer, which is hostile input: its size, its form, its numbers. What it
means stands in `core/isolation/holdings.py`.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from sandbox.protocol import MAX_HOLDINGS, Holdings
from supervisor.diagnostics.collector import CollectFailed, Collector
from supervisor.workers.handle import WorkerHandle

#: Seconds that a count may take; the copy's own limit is shorter, and says more.
COUNT_S = 90.0


async def count_holdings(collector: Collector, worker: WorkerHandle) -> Holdings:
    """Who holds what in a worker. Raises CollectFailed, or Busy where the pool gives evidence."""
    try:
        file = os.memfd_create("bulkhead-holdings", os.MFD_CLOEXEC)
    except OSError as error:
        raise CollectFailed(f"there is no place for its answer: {error.strerror}") from error
    try:
        async with asyncio.timeout(COUNT_S):
            await collector.collect(worker, "holdings", file, max_bytes=MAX_HOLDINGS)
        answer = os.pread(file, MAX_HOLDINGS, 0)
    except TimeoutError:
        raise CollectFailed(f"{worker.label} has not counted within {COUNT_S:g} s") from None
    except OSError as error:
        raise CollectFailed(f"it cannot be read: {error.strerror}") from error
    finally:
        os.close(file)
    try:
        return msgspec.json.decode(answer, type=Holdings)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CollectFailed(f"{worker.label}: it counted nonsense: {error}") from error
