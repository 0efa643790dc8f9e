"""Which connections are held since their credentials are refused, kept across restarts.

Owns one small file in the state directory. A restart must not forget when a hold has ended: retry
windows that ran meanwhile begin anew there. Must not decide anything: the scheduler does.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec
import structlog

from supervisor.state.later import LaterFile

_log = structlog.get_logger(__name__)

#: Its name in the state directory.
FILE = "credentials.json"


class HoldRecord(msgspec.Struct, frozen=True):
    """Of one connection: `reason` is "" where it is not held now. Times are epoch seconds."""

    reason: str = ""
    since: float = 0.0
    ended_at: float = 0.0

    def moved(self, by_s: float) -> HoldRecord:
        """The same by a clock that is so much ahead."""
        since, ended = (at and at + by_s for at in (self.since, self.ended_at))
        return HoldRecord(self.reason, since, ended)


class CredentialStore:
    """Holds by connection. For the event loop's thread."""

    def __init__(self, state_dir: Path, ahead_s: float = 0.0) -> None:
        """Read what an earlier run has left; a file that cannot be read is as good as none.

        The clock of that run was ahead by `ahead_s` seconds, below zero where it was behind.
        """
        path = state_dir / FILE
        self._records: dict[str, HoldRecord] = {}
        self._file = LaterFile(path, lambda: msgspec.json.encode(self._records))
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[str, HoldRecord])
            self._records = {name: one.moved(-ahead_s) for name, one in found.items()}
        except FileNotFoundError:
            pass  # nobody ever was
        except (OSError, msgspec.MsgspecError) as error:
            # Worth no refusal to start: destinations will say it again.
            _log.warning("holds_not_read", path=str(path), error=str(error))

    def of(self, connection: str) -> HoldRecord | None:
        """What is kept of a connection, None where it never was held."""
        return self._records.get(connection)

    def put(self, connection: str, record: HoldRecord) -> None:
        """Keep it from now on; on disk within a second or so."""
        self._records[connection] = record
        self._file.changed()

    def retain(self, connections: Collection[str]) -> None:
        """Forget connections that are not in the config any more."""
        gone = self._records.keys() - connections
        for connection in gone:
            del self._records[connection]
        if gone:
            self._file.changed()

    async def close(self) -> None:
        """Write down what is not yet."""
        await self._file.close()
