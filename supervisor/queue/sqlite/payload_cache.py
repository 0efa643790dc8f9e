"""Payload that is kept in memory, so that what is delivered at once is never read.

Owns which chunks have their deliveries in memory, and how many bytes that is. Must not do I/O, or
know which connections want a chunk.
"""

from __future__ import annotations

from supervisor.queue import Delivery
from supervisor.queue.sqlite.chunk_progress import Chunk

#: Bytes of chunks whose payload is kept.
CACHE_BYTES = 32 * 1024 * 1024


class PayloadCache:
    """Chunks with their payload, in the order in which they came."""

    __slots__ = ("_bytes", "_chunks")

    def __init__(self) -> None:
        self._chunks: dict[int, Chunk] = {}
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """What is kept."""
        return self._bytes

    def put(self, chunk: Chunk, deliveries: list[Delivery]) -> None:
        """Keep the payload of a chunk; those that came first make room, never the last one."""
        if chunk.id in self._chunks:
            return
        chunk.cache(deliveries)
        self._chunks[chunk.id] = chunk
        self._bytes += chunk.size
        while self._bytes > CACHE_BYTES and len(self._chunks) > 1:
            self.drop(next(iter(self._chunks.values())))

    def drop(self, chunk: Chunk) -> None:
        """Forget the payload of a chunk."""
        if self._chunks.pop(chunk.id, None) is not None:
            self._bytes -= chunk.size
        chunk.uncache()

    def resize(self, chunk: Chunk, size: int) -> None:
        """A chunk has become smaller on disk."""
        if chunk.id in self._chunks:
            self._bytes += size - chunk.size
        chunk.resize(size)
