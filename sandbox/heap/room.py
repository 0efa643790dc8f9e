"""The memory that the tables of a walk are made of: a file that the supervisor holds as well.

Owns its division into pieces. A worker's limits leave no room for tables at the moment in which its
memory is used up, and shared memory that it makes itself is denied, since nobody could count it.
This file was made with the worker, behind its marker page: of a size that is sealed, of which the
kernel tells the supervisor what is in use, mapped or not.
"""

from __future__ import annotations

import mmap
import os

from sandbox.heap.limits import MIB, SnapshotFailed
from sandbox.protocol import TABLES_AT

#: Bytes of a piece.
PIECE_BYTES = 64 << 10


class RoomUsedUp(SnapshotFailed):
    """There is no memory for another piece."""


class Room:
    """One walk's. `size_bytes` is all that its tables may take, `left_bytes` what is left of it."""

    def __init__(self, descriptor: int, most_bytes: int) -> None:
        """In the file of `descriptor`, from `TABLES_AT` on; what is there is forgotten.

        Raises SnapshotFailed where it cannot be mapped.
        """
        try:
            size = os.fstat(descriptor).st_size
            # Pages are taken from the machine as they are written to.
            self._file = mmap.mmap(descriptor, size)
            self._file.madvise(mmap.MADV_REMOVE, TABLES_AT, size - TABLES_AT)
        except (OSError, ValueError) as error:
            raise SnapshotFailed(f"no memory for the walk's tables: {error}") from error
        self._bytes = memoryview(self._file)
        self._taken = TABLES_AT
        self.size_bytes = min(most_bytes, size - TABLES_AT)

    @property
    def left_bytes(self) -> int:
        """What is left."""
        return self.size_bytes - (self._taken - TABLES_AT)

    @property
    def used_up(self) -> str:
        """What an operator is told where it is too small."""
        return f"the walk's tables are full at {self.size_bytes / MIB:g} MiB"

    def take(self, *, leave_bytes: int = 0) -> memoryview:
        """A piece of zeros. Raises RoomUsedUp where less than `leave_bytes` would be left."""
        if self.left_bytes - PIECE_BYTES < leave_bytes:
            raise RoomUsedUp(self.used_up)
        piece = self._bytes[self._taken : self._taken + PIECE_BYTES]
        self._taken += PIECE_BYTES
        return piece
