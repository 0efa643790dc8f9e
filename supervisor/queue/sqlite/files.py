"""The files that lie open, and whether they are still those of the state directory.

Owns the look at them: whoever removes, moves or replaces them under a running service does not
stop SQLite, which goes on writing to files that nobody will find again. Must not open or close
any of them: closing a second descriptor gives up the locks that SQLite holds on the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from supervisor.queue.sqlite.schema import DATABASE, LOCK, log_bytes

_NAMES: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK)


#: Bytes of the log's index that readers lock: https://www.sqlite.org/walformat.html#wal_locks
_READERS_AT: Final = range(123, 128)
#: Lines of the kernel's table of locks that are looked at.
_MOST_LOCKS: Final = 10_000


class FilesMissing(Exception):
    """What was opened at start is not what lies there now; the text says what, and what to do."""


class OpenFiles:
    """Made once all of them are open. For any thread."""

    def __init__(self, state_dir: Path) -> None:
        """Raises OSError."""
        self._state_dir = state_dir
        self._opened: Mapping[Path, tuple[int, int]] = {
            path: _identity(path) for name in _NAMES if (path := state_dir / name).exists()
        }

    def missing(self) -> str:
        """What is wrong with them; "" while all is as it was opened. Four calls of the system."""
        for path, opened in self._opened.items():
            try:
                now = _identity(path)
            except FileNotFoundError:
                return self._told(path, "was removed or moved")
            except OSError as error:
                return self._told(path, f"cannot be found any more ({error.strerror})")
            if now != opened:
                return self._told(path, "was replaced")
        return ""

    def log_bytes(self) -> int:
        """How long SQLite's log is on disk."""
        return log_bytes(self._state_dir / DATABASE)

    def readers(self) -> list[str]:
        """Which other processes hold a state of the database in a read transaction: pid and name.

        From the kernel's table of locks: a reader holds one byte of the index of the log.
        """
        try:
            index = os.stat(self._state_dir / f"{DATABASE}-shm").st_ino
            locks = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return []  # another kernel's way, or hidden from us
        found = set[int]()
        for line in locks[:_MOST_LOCKS]:
            # 1: POSIX  ADVISORY  READ 4711 08:01:131 123 123; waiting ones have an arrow in front.
            words = line.split()
            if len(words) == 8 and words[5].rpartition(":")[2] == str(index):
                first, last = words[6:]
                if first.isdecimal() and last.isdecimal() and _reads(int(first), int(last)):
                    found.add(int(words[4]))
        return [f"process {pid} ({_name_of(pid)})" for pid in sorted(found - {os.getpid()})]

    def _told(self, path: Path, what: str) -> str:
        return (
            f"{path} {what} while the service runs: put the same file back, or restart the service "
            "on the files that are to count; what is pending is delivered as long as it can be"
        )

    def require(self) -> None:
        """Raises FilesMissing."""
        if missing := self.missing():
            raise FilesMissing(missing)


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _reads(first: int, last: int) -> bool:
    return first <= last and first in _READERS_AT and last in _READERS_AT


def _name_of(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "gone, or another container's"
    return "".join(c if c.isprintable() else "?" for c in name)
