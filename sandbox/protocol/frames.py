"""Bytes to messages and back: what a frame is, and how large one may be.

A frame is one msgpack array that opens with a small integer kind. The stream
needs no length prefix: msgpack delimits itself, and `FrameReader` refuses what
is larger or deeper than any honest frame before it has been decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import msgspec

from sandbox.protocol.messages import (
    Declared,
    Message,
    Outcomes,
    Raised,
    Sampled,
    Validated,
    tag_of,
)

#: Largest frame a worker may send: outcomes of a full batch with their details.
MAX_FRAME_FROM_WORKER = 4 * 1024 * 1024
#: Largest frame of a kind that is neither outcomes nor below.
MAX_FRAME_OF_OTHERS = 64 * 1024
#: Largest frames from a worker, by kind: those of 4 MiB hold nothing but outcomes, each of which
#: was paid for by a delivery.
FRAME_SIZES: Mapping[int, int] = {
    tag_of(Declared): 256 * 1024,
    tag_of(Validated): 256 * 1024,
    tag_of(Raised): 128 * 1024,
    tag_of(Sampled): 40 * 1024,
    tag_of(Outcomes): MAX_FRAME_FROM_WORKER,
}
#: Largest frame the supervisor sends: a batch of its largest size and head room.
MAX_FRAME_TO_WORKER = 64 * 1024 * 1024


class ProtocolError(Exception):
    """The peer sent something that is no message; the text says what."""


def encode(message: Message) -> bytes:
    """One frame. Raises ValueError for what msgpack cannot carry.

    That is integers past 64 bits, and text that is no Unicode (lone surrogates).
    """
    try:
        return _encoder.encode(message)
    except OverflowError as error:
        raise ValueError(str(error)) from error


_encoder = msgspec.msgpack.Encoder()


def kind_of(frame: bytes | memoryview) -> int | None:
    """The kind of a whole frame, as `encode` writes it; None for what it never writes."""
    is_short_array = len(frame) > 1 and frame[0] & 0xF0 == 0x90
    return frame[1] if is_short_array and frame[1] < 0x80 else None


def count_of_outcomes(frame: bytes | memoryview) -> int:
    """How many outcomes a whole frame claims to hold, told from its first bytes alone."""
    if kind_of(frame) != _OUTCOMES:
        return 0
    head = msgpack.Unpacker()
    head.feed(frame[:_HEAD_BYTES])
    try:
        if head.read_array_header() != 3:
            return 0
        head.skip()
        head.skip()
        return int(head.read_array_header())
    except (ValueError, msgpack.UnpackException):
        return 0  # whatever else it is: not outcomes, and malformed


_OUTCOMES = tag_of(Outcomes)
#: An array's head, two integers of the longest, and another array's head.
_HEAD_BYTES = 1 + 9 + 9 + 5


class FrameReader:
    """Bytes in, messages out, however the bytes are cut.

    A frame is first only measured, and decoded once it is whole: what a peer claims (an
    array of four thousand million, a thousand of them nested) costs no memory, and what it
    holds back costs at most `max_frame` bytes.
    """

    def __init__(
        self,
        kinds: Any,  # Any: a union of Message classes
        max_frame: int,
        *,
        sizes: Mapping[int, int] | None = None,
        admit: Callable[[bytes | memoryview], None] | None = None,
    ) -> None:
        """`sizes` are the largest frames by kind, MAX_FRAME_OF_OTHERS for those that it lacks.

        `admit` sees each whole frame ahead of its being decoded, and may raise ProtocolError.
        """
        self._decoder = msgspec.msgpack.Decoder(kinds, ext_hook=_no_extensions)
        self._max_frame = max_frame
        self._sizes = sizes
        self._admit = admit
        self._begun = bytearray()
        self._fault: ProtocolError | None = None
        # It delimits frames; how much is buffered is for `feed` to bound, and 0 is no bound.
        # Its first buffer is of `read_size`, a whole megabyte by default; it grows as it must.
        self._unpacker = msgpack.Unpacker(max_buffer_size=0, read_size=256 * 1024)
        self._end = 0

    def feed(self, data: bytes | memoryview) -> list[Any]:  # Any: instances of `kinds`
        """Take bytes from the stream and return the messages that are complete now.

        Raises ProtocolError for garbage, for frames of another kind than `kinds`, and for
        frames larger than `max_frame` bytes; the peer is not to be trusted any more. Messages
        that are complete before the fault are returned first, and hold: then it is `check`,
        or the next `feed`, that raises.
        """
        self.check()
        messages: list[Any] = []
        try:
            self._read(data, messages)
        except ProtocolError as error:
            self._fault = error
            self._begun.clear()
            if not messages:
                raise
        return messages

    def check(self) -> None:
        """Raise the ProtocolError that follows the messages of the last `feed`, if any."""
        if self._fault is not None:
            raise self._fault

    def _read(self, data: bytes | memoryview, messages: list[Any]) -> None:
        self._unpacker.feed(data)
        # The first frame may have begun in earlier data; `start` is where it begins in `data`.
        start = -len(self._begun)
        base = self._end + len(self._begun)
        view = memoryview(data)
        while self._skip():
            self._end = self._unpacker.tell()
            end = self._end - base
            if end - start > self._max_frame:
                raise ProtocolError("frame larger than any honest one")
            frame = view[start:end] if start >= 0 else b"".join((self._begun, view[:end]))
            self._judge(frame)
            messages.append(self._decode(frame))
            self._begun.clear()
            start = end
        if len(data) - start > self._max_frame:
            raise ProtocolError("frame larger than any honest one")
        self._begun += view[max(start, 0) :]

    def _skip(self) -> bool:
        """Move past one frame; False where it is not whole."""
        try:
            self._unpacker.skip()
        except msgpack.OutOfData:
            return False
        except (ValueError, msgpack.UnpackException) as error:
            raise ProtocolError(f"not msgpack: {type(error).__name__}: {error}") from error
        return True

    def _judge(self, frame: bytes | memoryview) -> None:
        if self._sizes is not None:
            kind = kind_of(frame)
            most = (
                MAX_FRAME_OF_OTHERS if kind is None else self._sizes.get(kind, MAX_FRAME_OF_OTHERS)
            )
            if len(frame) > most:
                raise ProtocolError("frame larger than any honest one of its kind")
        if self._admit is not None:
            self._admit(frame)

    def _decode(self, frame: bytes | memoryview) -> Any:  # Any: an instance of `kinds`
        try:
            return self._decoder.decode(frame)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise ProtocolError(f"malformed frame: {error}") from error


def _no_extensions(code: int, data: memoryview) -> None:
    raise ValueError(f"extension type {code}")
