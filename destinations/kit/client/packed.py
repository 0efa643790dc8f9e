"""Answers whose body is packed: unpacked when the body is first asked for, and never otherwise.

Owns the limits of unpacking. A body that cannot be unpacked is a flaw of the answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from destinations.kit.requests import Response

#: What gzip and deflate call themselves; the number tells zlib the header to look for.
_GZIP, _ZLIB, _RAW = 31, 15, -15
_GZIPS = frozenset({b"gzip", b"x-gzip"})
_MAGIC = b"\x1f"
#: Encodings of one body: nobody packs twice.
_MOST_ENCODINGS = 2


class PackedResponse(Response, frozen=True, gc=False):
    """An answer as `Response` has it, over a body as it came.

    `body` and `flaw` take the place of the fields that they are named after.
    """

    encodings: tuple[bytes, ...] = ()
    most: int = 0
    _unpacked: tuple[bytes, str] | None = None

    @property  # type: ignore[misc]  # to whoever asks it is the field
    def body(self) -> bytes:
        """The unpacked body, at most `most` bytes."""
        return self._read()[0]

    @property  # type: ignore[misc]  # to whoever asks it is the field
    def flaw(self) -> str:
        """Why that is not the whole body."""
        return self._read()[1]

    def _read(self) -> tuple[bytes, str]:
        if self._unpacked is None:
            raw, flaw = _BODY(self), _FLAW(self)
            msgspec.structs.force_setattr(
                self, "_unpacked", unpacked(raw, flaw, self.encodings, self.most)
            )
        assert self._unpacked is not None
        return self._unpacked


_BODY = Response.body.__get__  # type: ignore[attr-defined]  # the field's own descriptor
_FLAW = Response.flaw.__get__  # type: ignore[attr-defined]  # the same


def unpacked(body: bytes, flaw: str, encodings: Sequence[bytes], most: int) -> tuple[bytes, str]:
    """A body, of which at most `most` bytes are given, and its flaw.

    Of one that was cut off or is broken, what can be unpacked is given.
    """
    if len(encodings) > _MOST_ENCODINGS:
        return b"", "packed more than twice"
    for encoding in reversed(encodings):
        if encoding not in _GZIPS and encoding != b"deflate":
            return b"", "packed in a way that was not asked for"
        if not body:
            return b"", flaw
        if encoding in _GZIPS and not body.startswith(_MAGIC):
            continue  # the server has said so, and not done it
        body, problem = _unpacked(body, encoding in _GZIPS, most)
        flaw = flaw or problem
    return body, flaw


def _unpacked(body: bytes, is_gzip: bool, most: int) -> tuple[bytes, str]:
    # Of the two things that servers call deflate, that with a header has 8 in its first byte.
    form = _GZIP if is_gzip else _ZLIB if body[0] & 0x0F == 8 else _RAW
    pieces: list[bytes] = []
    size = 0
    while body:
        inflating = zlib.decompressobj(form)
        try:
            piece = inflating.decompress(body, most + 1 - size)
        except zlib.error:
            # Behind a whole member of gzip anything may follow, as of other programs.
            return b"".join(pieces), "" if pieces and is_gzip else "not packed as it says"
        pieces.append(piece)
        size += len(piece)
        if size > most:
            return b"".join(pieces)[:most], f"larger than {most} bytes"
        if not inflating.eof:
            return b"".join(pieces), "cut off in the middle"
        body = inflating.unused_data if is_gzip else b""
    return b"".join(pieces), ""
