"""Rows of 32-bit numbers, kept in shared memory until they are written.

Counts come first in the file and edges after all nodes, so both wait here. The
memory is shared so that RLIMIT_DATA, of which a worker that leaks has nothing
left, does not count it.
"""

from __future__ import annotations

import array
import mmap
from collections.abc import Iterator

from sandbox.heap.limits import SnapshotFailed

_CHUNK_BYTES = 4 << 20
_PART_BYTES = 64 << 10
#: Rows are gathered here first.
_BUFFER_ITEMS = 1 << 16


class Spool:
    """Append-only; `buffer` takes numbers, and `flush` moves it on when it is large."""

    def __init__(self) -> None:
        self.buffer = array.array("I")
        self._chunks: list[mmap.mmap] = []
        self._room = 0
        self._flushed = 0

    @property
    def size_bytes(self) -> int:
        """Shared memory in use."""
        return len(self._chunks) * _CHUNK_BYTES

    def __len__(self) -> int:
        return self._flushed + len(self.buffer)

    def flush(self, *, everything: bool = False) -> None:
        """Move the buffer to shared memory, where it is large enough. Raises SnapshotFailed."""
        if len(self.buffer) < _BUFFER_ITEMS and not everything:
            return
        with memoryview(self.buffer).cast("B") as rest:
            done = 0
            while done < len(rest):
                if not self._room:
                    try:
                        self._chunks.append(mmap.mmap(-1, _CHUNK_BYTES))
                    except OSError as error:
                        text = f"no memory for the walk's tables: {error.strerror}"
                        raise SnapshotFailed(text) from error
                    self._room = _CHUNK_BYTES
                part = min(self._room, len(rest) - done)
                self._chunks[-1].write(rest[done : done + part])
                self._room -= part
                done += part
        self._flushed += len(self.buffer)
        del self.buffer[:]

    def take(self) -> Iterator[array.array[int]]:
        """All numbers in order, in parts whose size is a multiple of 4; frees what was taken.

        Parts are small: as objects of Python, their numbers are ten times as large.
        """
        self.flush(everything=True)
        while self._chunks:
            chunk = self._chunks.pop(0)
            size = _CHUNK_BYTES if self._chunks else _CHUNK_BYTES - self._room
            for start in range(0, size, _PART_BYTES):
                part = array.array("I")
                part.frombytes(chunk[start : min(start + _PART_BYTES, size)])
                yield part
            chunk.close()
        self._room = 0
