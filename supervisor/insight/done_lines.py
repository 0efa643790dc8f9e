"""Lines on what was done by hand, in `insight.db`: the last of them, from run to run.

Owns their table. What a line says is the business of whoever writes it; nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from supervisor.insight.disk import Database, Disk

#: Seconds after which lines are written again that the disk did not take.
RETRY_S = 30.0
_TABLE = "CREATE TABLE IF NOT EXISTS done (id INTEGER PRIMARY KEY, line BLOB NOT NULL)"


class DoneLines:
    """The last `most` of them. For the event loop's thread."""

    def __init__(self, disk: Disk, most: int) -> None:
        self._disk = disk
        self._most = most
        self._unwritten: deque[bytes] = deque(maxlen=most)
        self._writing = 0
        """How many of them the disk has been given."""
        self._is_retrying = False

    def load(self, loaded: Callable[[list[bytes]], None]) -> None:
        """`loaded` is given what earlier runs kept, oldest first, once the disk has it."""
        self._disk.soon(partial(_load, most=self._most), loaded, _ignore)

    def keep(self, line: bytes) -> None:
        """One line more; what the disk did not take goes with it."""
        if len(self._unwritten) == self._most:
            self._writing = max(0, self._writing - 1)  # the oldest goes, which is on its way
        self._unwritten.append(line)
        self._write()

    def _write(self) -> None:
        # What is on its way comes first; then all that has come meanwhile goes together.
        if not self._writing and self._unwritten:
            rows = list(self._unwritten)
            self._writing = len(rows)
            self._disk.soon(
                partial(_write, rows=rows, most=self._most),
                lambda _: self._written(),
                lambda _: self._not_written(),
            )

    def _written(self) -> None:
        for _ in range(min(self._writing, len(self._unwritten))):
            self._unwritten.popleft()
        self._writing = 0
        self._write()

    def _not_written(self) -> None:
        """The disk tells of its own troubles; it may be well, and the file new."""
        self._writing = 0
        if not self._is_retrying:
            self._is_retrying = True
            asyncio.get_running_loop().call_later(RETRY_S, self._again)

    def _again(self) -> None:
        self._is_retrying = False
        self._write()


def _load(db: Database, most: int) -> list[bytes]:
    db.execute(_TABLE)
    found = db.execute("SELECT line FROM done ORDER BY id DESC LIMIT ?", (most,))
    return [line for (line,) in found][::-1]


def _write(db: Database, rows: Sequence[bytes], most: int) -> None:
    db.execute(_TABLE)
    db.executemany("INSERT INTO done (line) VALUES (?)", ((line,) for line in rows))
    db.execute(
        "DELETE FROM done WHERE id <= (SELECT id FROM done ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (most,),
    )


def _ignore(_: object) -> None:
    """Nothing follows from it: the disk tells of its own troubles."""
