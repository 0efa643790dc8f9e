"""Limits of one process by time that counts, of processes that sleep or wait for a CPU."""

from __future__ import annotations

import asyncio

from supervisor.core.counted_time import CpuTimes, ThreadTimes
from supervisor.workers.patience import Patience

#: Seconds of a limit here, and for what has to come in the end.
LIMIT_S, GENEROUS_S = 0.04, 20.0


class Process:
    """It sleeps, or is ready to run and has no CPU."""

    def __init__(self) -> None:
        self.is_starved, self.looks, self.was_looked_at = False, 0, asyncio.Event()

    def times(self) -> CpuTimes:
        """`was_looked_at` for three times its limit."""
        self.looks += 1
        if self.looks == 12:
            self.was_looked_at.set()
        return {1: ThreadTimes(1.0, 1.0, is_ready=self.is_starved)}


async def test_it_rings_once_a_process_had_its_time() -> None:
    """Not while that has no CPU."""
    process, rang = Process(), asyncio.Event()
    process.is_starved = True
    Patience(LIMIT_S, process.times, rang.set)
    async with asyncio.timeout(GENEROUS_S):
        await process.was_looked_at.wait()
        assert not rang.is_set()
        process.is_starved = False
        await rang.wait()


async def test_it_rings_in_the_end_where_it_is_told_to() -> None:
    """However little of the time counts."""
    process, rang = Process(), asyncio.Event()
    process.is_starved = True
    Patience(LIMIT_S, process.times, rang.set, most_s=2 * LIMIT_S)
    async with asyncio.timeout(GENEROUS_S):
        await rang.wait()
    assert process.looks >= 4


async def test_it_does_not_ring_once_it_is_cancelled() -> None:
    """What was waited for has come."""
    process, rang, other = Process(), asyncio.Event(), asyncio.Event()
    Patience(LIMIT_S, process.times, rang.set).cancel()
    Patience(2 * LIMIT_S, process.times, other.set)
    async with asyncio.timeout(GENEROUS_S):
        await other.wait()
    assert not rang.is_set()
