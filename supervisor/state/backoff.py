"""Until when destinations asked not to be called (Retry-After), kept across restarts.

Owns one small file in the state directory. Short waits are not worth a write:
a restart takes about as long. Must not decide anything: the scheduler does.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import structlog

from supervisor.runtime.clock import Clock

_log = structlog.get_logger(__name__)

#: Its name in the state directory.
FILE = "holds.json"
#: Seconds that a wait has to be long to be remembered, and between two writes.
LEAST_S, WRITE_EVERY_S = 5.0, 1.0


class BackoffStore:
    """By connection, until when (seconds of the service's clock). For the event loop's thread."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        """Read what an earlier run has left; a file that cannot be read is as good as none."""
        self._path = state_dir / FILE
        self._clock = clock
        self._until: dict[str, float] = {}
        self._written_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        try:
            self._until = msgspec.json.decode(self._path.read_bytes(), type=dict[str, float])
        except FileNotFoundError:
            pass  # nobody ever asked
        except (OSError, msgspec.MsgspecError) as error:
            # Worth no refusal to start: destinations will say it again.
            _log.warning("holds_not_read", path=str(self._path), error=str(error))

    def until(self, connection: str) -> float:
        """Until when nothing may go to a connection; in the past where nobody asked."""
        return self._until.get(connection, 0.0)

    def asked(self, connection: str, until: float) -> None:
        """A destination wants to be let alone until then; on disk within a second or so."""
        now = self._clock()
        if until - now < LEAST_S or until - self._until.get(connection, 0.0) < 1.0:
            return
        self._until[connection] = until
        if self._timer is None:
            delay = max(0.0, self._written_at + WRITE_EVERY_S - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._write_soon)

    def forget(self, connection: str) -> None:
        """An operator knows better; on disk with the next write."""
        self._until.pop(connection, None)

    async def close(self) -> None:
        """Write down what is not yet."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
            self._write(self._current())

    def _write_soon(self) -> None:
        self._timer = None
        self._written_at = self._clock()
        self._writing = asyncio.get_running_loop().create_task(self._write_aside())

    async def _write_aside(self) -> None:
        await asyncio.to_thread(self._write, self._current())

    def _current(self) -> bytes:
        now = self._clock()
        self._until = {name: until for name, until in self._until.items() if until > now}
        return msgspec.json.encode(self._until)

    def _write(self, data: bytes) -> None:
        draft = self._path.with_suffix(".new")
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._path)
        except OSError as error:
            _log.warning("holds_not_written", path=str(self._path), error=str(error))
