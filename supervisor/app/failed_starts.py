"""Pools whose workers do not start any more: which destination is why, and without it they do.

Owns when that is asked. Code is as it was when it started well (`workers/code.py`), so that it is
the time, a file or the machine that has changed; nobody is asked again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from supervisor.delivery.pool import PoolRunner

_log = structlog.get_logger(__name__)

#: Starts of a pool's workers in a row that fail until its destinations are asked one by one.
FAILED_STARTS = 2


class FailedStarts:
    """Looks at `runners`, by pool.

    `ask` says which destinations of a pool cannot be imported, by a worker that does nothing else,
    and why; `leave_out` has the pools go on without them.
    """

    def __init__(
        self,
        runners: Mapping[str, PoolRunner],
        ask: Callable[[str], Awaitable[Mapping[str, str]]],
        leave_out: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._runners = runners
        self._ask = ask
        self._leave_out = leave_out
        self._asking: dict[str, asyncio.Task[None]] = {}

    def look(self) -> None:
        """Ask about each pool that has failed so often, one question a pool at a time."""
        for pool, runner in self._runners.items():
            if runner.layout.failures >= FAILED_STARTS and pool not in self._asking:
                self._asking[pool] = asyncio.create_task(self._find(pool))

    def close(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()

    async def _find(self, pool: str) -> None:
        try:
            broken = await self._ask(pool)
            for destination, reason in broken.items():
                _log.error(
                    "destination_left_out",
                    pool=pool,
                    destination=destination,
                    reason=reason,
                    consequence="its connections wait; a reload tries it again",
                )
            if broken:
                self._leave_out(broken)
        except Exception as error:  # noqa: BLE001 - the pool is no worse off; it is asked again
            _log.error("failed_starts_not_explained", pool=pool, exc_info=error)
        finally:
            del self._asking[pool]
