"""Where the body of an answer ends: at a length, at the last chunk, or with the connection.

Pure: bytes in, bytes out, in any split. Must not hold more than a line of what it was given.
"""

from __future__ import annotations

import re
from typing import Protocol

#: Longest line in bytes: of a head, of a chunk's size, of a trailer.
MAX_LINE = 64 * 1024
#: Most lines after the last chunk.
MAX_TRAILERS = 1000
_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")

CUT_OFF = "cut off in the middle"
BAD_CHUNKS = "cut off where its chunks are not as HTTP has them"


class BodyReader(Protocol):
    """Takes what follows a head."""

    is_complete: bool
    """Nothing of the answer follows."""
    flaw: str
    """Why what was read is not the whole body, should the connection end now; "" where it is."""
    rest: bytes
    """What came after the end."""

    def feed(self, data: bytes) -> bytes:
        """What of `data` is the body's. Not to be called once it is complete."""


class SizedBody:
    """So many bytes."""

    __slots__ = ("_left", "flaw", "is_complete", "rest")

    def __init__(self, size: int) -> None:
        self._left = size
        self.is_complete = not size
        self.flaw = CUT_OFF if size else ""
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """What of `data` is the body's."""
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data
        taken = data[: self._left] if left else data
        self.rest = data[self._left :] if left else b""
        self._left, self.is_complete, self.flaw = 0, True, ""
        return taken


class OpenBody:
    """All that comes until the connection ends."""

    __slots__ = ("flaw", "is_complete", "rest")

    def __init__(self) -> None:
        self.is_complete = False
        self.flaw = ""
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data


class ChunkedBody:
    """Chunks, each after a line with its size in hexadecimal digits, and lines after the last.

    Lenient in what does not matter: line feeds alone, blanks, a missing or doubled end of line
    after a chunk, nothing at all after the last one.
    """

    __slots__ = ("_left", "_line", "_trailers", "flaw", "is_complete", "rest")

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        self._trailers = 0  # 0: before the last chunk
        self.is_complete = False
        self.flaw = CUT_OFF
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """What of `data` is the body's."""
        pieces = []
        at = 0
        while at < len(data) and not self.is_complete:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
                continue
            end = data.find(b"\n", at)
            if end < 0 or len(self._line) > MAX_LINE:
                self._line += data[at:]
                at = len(data)
                if len(self._line) > MAX_LINE:
                    self._broken()
                break
            line, self._line = (self._line + data[at:end]).strip(), b""
            at = end + 1
            self._take(line)
        self.rest = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take(self, line: bytes) -> None:
        if self._trailers:
            self._trailers += 1
            if not line:
                self.is_complete = True
            elif self._trailers > MAX_TRAILERS:
                self._broken()
        elif line:
            digits = line.partition(b";")[0].rstrip()
            if not _SIZE.fullmatch(digits):
                self._broken()
                return
            self._left = int(digits, 16)
            if not self._left:
                self._trailers, self.flaw = 1, ""

    def _broken(self) -> None:
        # What follows cannot be told from anything: whoever sees a rest keeps no connection.
        self.is_complete = True
        self._line = b""
        if self.flaw:
            self.flaw = BAD_CHUNKS
