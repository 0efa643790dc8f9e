"""Rows of 32-bit numbers, kept until they are written.

Counts come first in the file and edges after all nodes, so both wait here, in pieces of the walk's
room.
"""

from __future__ import annotations

import array
from collections.abc import Iterator

from sandbox.heap.room import PIECE_BYTES, Room

_PART_BYTES = 64 << 10
#: Rows are gathered here first.
_BUFFER_ITEMS = 1 << 16


class Spool:
    """Append-only; `buffer` takes numbers, and `flush` moves it on when it is large."""

    def __init__(self, room: Room) -> None:
        self.buffer = array.array("I")
        self._memory = room
        self._pieces: list[memoryview] = []
        self._room = 0
        self._flushed = 0

    def __len__(self) -> int:
        return self._flushed + len(self.buffer)

    def flush(self, *, everything: bool = False) -> None:
        """Move the buffer on, where it is large enough. Raises RoomUsedUp."""
        if len(self.buffer) < _BUFFER_ITEMS and not everything:
            return
        with memoryview(self.buffer).cast("B") as rest:
            done = 0
            while done < len(rest):
                if not self._room:
                    self._pieces.append(self._memory.take())
                    self._room = PIECE_BYTES
                part = min(self._room, len(rest) - done)
                at = PIECE_BYTES - self._room
                self._pieces[-1][at : at + part] = rest[done : done + part]
                self._room -= part
                done += part
        self._flushed += len(self.buffer)
        del self.buffer[:]

    def take(self) -> Iterator[array.array[int]]:
        """All numbers in order, in parts whose size is a multiple of 4. Once.

        Parts are small: as objects of Python, their numbers are ten times as large.
        """
        self.flush(everything=True)
        while self._pieces:
            piece = self._pieces.pop(0)
            size = PIECE_BYTES if self._pieces else PIECE_BYTES - self._room
            for start in range(0, size, _PART_BYTES):
                part = array.array("I")
                part.frombytes(piece[start : min(start + _PART_BYTES, size)])
                yield part
        self._room = 0
