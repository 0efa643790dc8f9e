"""Which connections an operator has paused, kept across restarts.

Owns one small file in the state directory. A pause that a restart undoes would
send what somebody had reason to hold back.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from supervisor.runtime.durable import write_durably

#: Its name in the state directory.
FILE = "paused.json"


class PausedError(Exception):
    """The file cannot be read; the text says where it is and what to do."""


class Paused:
    """A set of connection names on disk."""

    def __init__(self, state_dir: Path) -> None:
        """Read what an earlier run has left. Raises PausedError for a file that is none of ours."""
        self._path = state_dir / FILE
        try:
            names = msgspec.json.decode(self._path.read_bytes(), type=list[str])
        except FileNotFoundError:
            names = []
        except (OSError, msgspec.MsgspecError) as error:
            raise PausedError(
                f"{self._path}: cannot be read: {error}; correct it, or remove it to resume all"
            ) from error
        self._names = set(names)

    def __contains__(self, connection: str) -> bool:
        return connection in self._names

    def add(self, connection: str) -> None:
        """Remember a pause; on disk when this returns. Raises OSError."""
        self._write(self._names | {connection})

    def remove(self, connection: str) -> None:
        """Forget a pause; on disk when this returns. Raises OSError."""
        if connection in self._names:
            self._write(self._names - {connection})

    def _write(self, names: set[str]) -> None:
        write_durably(self._path, msgspec.json.encode(sorted(names)))
        self._names = names
