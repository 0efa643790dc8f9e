"""Request bodies: read within limits of size and time, and unpacked within a limit of size.

Owns the reading; how many bytes of all requests are held at once is `held.py`'s. Must not know what
the bytes mean. A body that is not there in time, too slow, or too large, is refused as soon as that
is known.
"""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from supervisor.ingest.held import Held, NoRoom

#: Seconds that a whole body may take.
BODY_TIMEOUT_S = 30.0
#: Seconds in each of which so many bytes have to come, until the body is whole: a sender that stops
#: in its middle holds room for no longer. The slowest mobile networks bring ten times as much.
GRACE_S, LEAST_BYTES = 5.0, 2 * 1024
#: Compressed streams in one body, one after the other; each costs time, however small it is.
MAX_MEMBERS = 16

_GZIP_MAGIC = b"\x1f\x8b"
#: The first byte of a zlib stream of the usual window. JSON cannot open with either.
_ZLIB_MAGIC = b"\x78"
#: Encodings that need no other unpacking than what the first bytes show.
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
#: zlib: find out by itself whether it is gzip or zlib, largest window.
_AUTO = 32 + zlib.MAX_WBITS


def _is_json(data: bytes) -> bool:
    """Whether it opens as a JSON object does: a client that names an encoding may not have used it.

    No deflate stream opens with a brace; after white space or a byte order mark it hardly does.
    """
    return data.lstrip(b" \t\r\n").removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")[:1] in (
        b"{",
        b"",
    )


class BodyError(Exception):
    """A body that cannot be had; `status` and `code` are those of the answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Body:
    """The body of one request; a context manager that holds its bytes."""

    __slots__ = ("_grace_s", "_held", "_limit", "_request", "_timeout_s")

    def __init__(
        self,
        request: web.Request,
        held: Held,
        limit: int,
        timeout_s: float = BODY_TIMEOUT_S,
        grace_s: float = GRACE_S,
    ) -> None:
        """`limit`: bytes after unpacking."""
        self._request = request
        self._held = held
        self._limit = limit
        self._timeout_s = timeout_s
        self._grace_s = grace_s

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.give()

    def belongs_to(self, source: str) -> None:
        """Its key is known now: it counts as that source's. Raises BodyError."""
        try:
            self._held.known(source)
        except NoRoom as error:
            raise _overloaded(error) from error

    async def read(self) -> bytes:
        """All of it, unpacked. Raises BodyError."""
        try:
            data = await self._received()
        except TimeoutError:
            raise BodyError(
                408,
                "timeout",
                f"the body did not come within {self._timeout_s:g} s, or less of it than"
                f" {LEAST_BYTES} bytes in {self._grace_s:g} s",
            ) from None
        except RequestPayloadError as error:
            raise BodyError(400, "invalid_body", "the body's framing is broken") from error
        except ConnectionError as error:
            raise BodyError(400, "incomplete_body", "the connection broke off") from error
        if data[:2] == _GZIP_MAGIC or data[:1] == _ZLIB_MAGIC:
            data = self._unpacked(data)
        else:
            encoding = self._request.headers.get("Content-Encoding", "").strip()
            if encoding.lower() == "deflate" and not _is_json(data):
                # Without zlib's frame, as some clients take the name to mean.
                return self._inflated(data)
            if encoding.lower() not in _ENCODINGS:
                raise BodyError(
                    415,
                    "unsupported_encoding",
                    f"Content-Encoding {encoding[:40]!r} is not known; send gzip, deflate or none",
                )
        return data

    async def _received(self) -> bytes:
        announced = self._request.content_length
        if announced is not None and announced > self._limit:
            raise self._too_large(f"{announced} bytes")
        content = self._request.content
        if content.is_eof():
            # The usual case: it came in one piece with its head, so no timer is needed.
            data = content.read_nowait()
            self._hold(len(data))
            return data
        chunks: list[bytes] = []
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout_s
        while True:
            before = self._held.size
            try:
                async with asyncio.timeout_at(min(until, loop.time() + self._grace_s)):
                    while chunk := await content.readany():
                        self._hold(len(chunk))
                        chunks.append(chunk)
                return b"".join(chunks)
            except TimeoutError:
                if loop.time() >= until or self._held.size - before < LEAST_BYTES:
                    raise

    def _hold(self, size: int) -> None:
        if self._held.size + size > self._limit:
            raise self._too_large(f"more than {self._limit} bytes")
        try:
            self._held.take(size)
        except NoRoom as error:
            raise _overloaded(error) from error

    def _unpacked(self, packed: bytes) -> bytes:
        """Unpack gzip, members one after the other included, or zlib; never past the limit."""
        # Packed and unpacked are there together for a moment; the limit counts what is unpacked.
        self._held.give()
        parts = []
        try:
            while packed[:2] == _GZIP_MAGIC or packed[:1] == _ZLIB_MAGIC:
                unpacker = zlib.decompressobj(_AUTO)
                part = unpacker.decompress(packed, self._limit - self._held.size + 1)
                self._hold(len(part))
                parts.append(part)
                if not unpacker.eof:
                    raise BodyError(400, "invalid_gzip", "the compressed body is cut off")
                packed = unpacker.unused_data
                if len(parts) == MAX_MEMBERS and packed:
                    raise BodyError(
                        400, "invalid_gzip", f"the body has more than {MAX_MEMBERS} members"
                    )
        except zlib.error as error:
            raise BodyError(400, "invalid_gzip", f"the body cannot be unpacked: {error}") from error
        if packed.strip(b"\0"):
            raise BodyError(400, "invalid_gzip", "bytes follow the end of the compressed body")
        return b"".join(parts)

    def _inflated(self, packed: bytes) -> bytes:
        """Unpack a bare deflate stream; never past the limit."""
        self._held.give()
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(packed, self._limit + 1)
        except zlib.error as error:
            raise BodyError(
                400,
                "invalid_deflate",
                f"the body is neither JSON nor deflate, which Content-Encoding names: {error}",
            ) from error
        self._hold(len(data))
        if not unpacker.eof:
            raise BodyError(400, "invalid_deflate", "the compressed body is cut off")
        if unpacker.unused_data:
            raise BodyError(400, "invalid_deflate", "bytes follow the end of the compressed body")
        return data

    def _too_large(self, size: str) -> BodyError:
        return BodyError(
            413,
            "too_large",
            f"the body has {size} after unpacking; at most {self._limit} are taken "
            "(api.max_request)",
        )


def _overloaded(error: NoRoom) -> BodyError:
    return BodyError(503, "overloaded", f"{error}; try again")
