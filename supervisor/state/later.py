"""A small file of the state directory that follows what changes in memory, a little later.

Owns when it is written. Must not know what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from supervisor.runtime.durable import write_durably

_log = structlog.get_logger(__name__)

#: Seconds between two writes of a file that changes often.
WRITE_EVERY_S = 1.0


class LaterFile:
    """A file that follows what changes in memory, a second behind at most. For the event loop.

    `current` gives what is to be in it. A write that fails is logged and not repeated: what is in
    such a file is found out again without it.
    """

    def __init__(self, path: Path, current: Callable[[], bytes]) -> None:
        self._path = path
        self._current = current
        self._written_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """What is to be in it is another; on disk within a second or so."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            delay_s = max(0.0, self._written_at + WRITE_EVERY_S - loop.time())
            self._timer = loop.call_later(delay_s, self._write_soon)

    async def close(self) -> None:
        """Write down what is not yet."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
            self._write(self._current())

    def _write_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():  # a slow disk: one at a time
            self._timer = loop.call_later(WRITE_EVERY_S, self._write_soon)
            return
        self._timer = None
        self._written_at = loop.time()
        self._writing = loop.create_task(asyncio.to_thread(self._write, self._current()))

    def _write(self, data: bytes) -> None:
        try:
            write_durably(self._path, data)
        except OSError as error:
            _log.warning("state_not_written", path=str(self._path), error=str(error))
