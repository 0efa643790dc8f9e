"""Until when destinations asked not to be called (Retry-After), kept across restarts.

Owns one small file in the state directory. Short waits are not worth a write:
a restart takes about as long. Must not decide anything: the scheduler does.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from supervisor.runtime.clock import Clock
from supervisor.state.later import LaterFile

_log = structlog.get_logger(__name__)

#: Its name in the state directory.
FILE = "holds.json"
#: Seconds that a wait has to be long to be remembered.
LEAST_S = 5.0


class BackoffStore:
    """By connection, until when (seconds of the service's clock). For the event loop's thread."""

    def __init__(self, state_dir: Path, clock: Clock, ahead_s: float = 0.0) -> None:
        """Read what an earlier run has left; a file that cannot be read is as good as none.

        The clock of that run was ahead by `ahead_s` seconds, below zero where it was behind.
        """
        path = state_dir / FILE
        self._clock = clock
        self._until: dict[str, float] = {}
        self._file = LaterFile(path, self._current)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
            self._until = {name: until - ahead_s for name, until in found.items()}
        except FileNotFoundError:
            pass  # nobody ever asked
        except (OSError, msgspec.MsgspecError) as error:
            # Worth no refusal to start: destinations will say it again.
            _log.warning("holds_not_read", path=str(path), error=str(error))

    def until(self, connection: str) -> float:
        """Until when nothing may go to a connection; in the past where nobody asked."""
        return self._until.get(connection, 0.0)

    def asked(self, connection: str, until: float) -> None:
        """A destination wants to be let alone until then; on disk within a second or so."""
        now = self._clock()
        if until - now < LEAST_S or until - self._until.get(connection, 0.0) < 1.0:
            return
        self._until[connection] = until
        self._file.changed()

    def forget(self, connection: str) -> None:
        """An operator knows better; on disk with the next write."""
        self._until.pop(connection, None)

    async def close(self) -> None:
        """Write down what is not yet."""
        await self._file.close()

    def _current(self) -> bytes:
        now = self._clock()
        self._until = {name: until for name, until in self._until.items() if until > now}
        return msgspec.json.encode(self._until)
