"""Request bodies: read within limits of size and time, and unpacked within a limit of size.

Owns how many bytes of requests the service holds at once. Must not know what
the bytes mean. A body that is not there in time, or too large, is refused as
soon as that is known.
"""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

#: Seconds that a whole body may take.
BODY_TIMEOUT_S = 30.0
#: Bytes of bodies, unpacked, that all requests together may hold.
MAX_HELD = 64 * 1024 * 1024
#: Compressed streams in one body, one after the other; each costs time, however small it is.
MAX_MEMBERS = 16

_GZIP_MAGIC = b"\x1f\x8b"
#: The first byte of a zlib stream of the usual window. JSON cannot open with either.
_ZLIB_MAGIC = b"\x78"
#: Encodings that need no other unpacking than what the first bytes show.
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
#: zlib: find out by itself whether it is gzip or zlib, largest window.
_AUTO = 32 + zlib.MAX_WBITS


class BodyError(Exception):
    """A body that cannot be had; `status` and `code` are those of the answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BytesInFlight:
    """How many bytes of bodies are in memory."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self.size = 0
        self._limit = limit

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises BodyError with status 503 where that is too much."""
        if self.size + size > self._limit:
            raise BodyError(503, "overloaded", "too many requests are being read; try again")
        self.size += size

    def give(self, size: int) -> None:
        """They are free again."""
        self.size -= size


class Body:
    """The body of one request; a context manager that holds its bytes in `held`."""

    __slots__ = ("_held", "_limit", "_request", "_size", "_timeout_s")

    def __init__(
        self,
        request: web.Request,
        held: BytesInFlight,
        limit: int,
        timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        """`limit`: bytes after unpacking."""
        self._request = request
        self._held = held
        self._limit = limit
        self._timeout_s = timeout_s
        self._size = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.give(self._size)

    async def read(self) -> bytes:
        """All of it, unpacked. Raises BodyError."""
        try:
            data = await self._received()
        except TimeoutError:
            raise BodyError(
                408, "timeout", f"the body did not come within {self._timeout_s:g} s"
            ) from None
        except RequestPayloadError as error:
            raise BodyError(400, "invalid_body", "the body's framing is broken") from error
        except ConnectionError as error:
            raise BodyError(400, "incomplete_body", "the connection broke off") from error
        if data[:2] == _GZIP_MAGIC or data[:1] == _ZLIB_MAGIC:
            data = self._unpacked(data)
        else:
            encoding = self._request.headers.get("Content-Encoding", "")
            if encoding and encoding.strip().lower() not in _ENCODINGS:
                raise BodyError(
                    415,
                    "unsupported_encoding",
                    f"Content-Encoding {encoding[:40]!r} is not known; send gzip or none",
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
        chunks = []
        async with asyncio.timeout(self._timeout_s):
            while chunk := await content.readany():
                self._hold(len(chunk))
                chunks.append(chunk)
        return b"".join(chunks)

    def _hold(self, size: int) -> None:
        if self._size + size > self._limit:
            raise self._too_large(f"more than {self._limit} bytes")
        self._held.take(size)
        self._size += size

    def _unpacked(self, packed: bytes) -> bytes:
        """Unpack gzip, members one after the other included, or zlib; never past the limit."""
        # Packed and unpacked are there together for a moment; the limit counts what is unpacked.
        self._held.give(self._size)
        self._size = 0
        parts = []
        try:
            while packed[:2] == _GZIP_MAGIC or packed[:1] == _ZLIB_MAGIC:
                unpacker = zlib.decompressobj(_AUTO)
                part = unpacker.decompress(packed, self._limit - self._size + 1)
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

    def _too_large(self, size: str) -> BodyError:
        return BodyError(
            413,
            "too_large",
            f"the body has {size} after unpacking; at most {self._limit} are taken "
            "(api.max_request)",
        )
