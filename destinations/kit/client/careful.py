"""aiohttp's end of a connection, behind our own reader: for sessions that destinations use.

aiohttp's parser refuses what careless servers say, as a server's parser has to. Here it is given
what our reader has made of an answer, written anew by the book, so that decoding, flow control and
errors stay aiohttp's own. Owns that translation, and the longest life of such a connection.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadStatusLine

from destinations.kit.client.answers import (
    MAX_HEADERS,
    SWITCHING,
    AnswerHead,
    AnswerReader,
    NotHttp,
)
from destinations.kit.client.bodies import CUT_OFF, MAX_LINE
from destinations.kit.client.kept import lifetime_s

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: Said anew, as we understood them.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"content-encoding", b"connection"})
#: What aiohttp unpacks by itself; what else a body is packed in, whoever reads it has to see to.
_UNPACKED = frozenset({b"gzip", b"deflate"})


class CarefulHandler(ResponseHandler):
    """One connection of a session, which takes any answer whose status can be read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._reader: AnswerReader | None = None
        self._is_begun = False
        self._until = loop.time() + lifetime_s()

    @property
    def should_close(self) -> bool:
        """Whether it is not to be used again, as when its life is over."""
        return super().should_close or self._loop.time() >= self._until

    # Any: aiohttp's own parameters, which are passed on.
    def set_response_params(self, *, skip_payload: bool = False, **params: Any) -> None:
        """Begin an exchange."""
        self._reader = AnswerReader("HEAD" if skip_payload else "GET")
        self._is_begun = False
        # Names of headers and what we add to them count too.
        params |= {"max_line_size": 2 * MAX_LINE, "max_field_size": 2 * MAX_LINE}
        params["max_headers"] = MAX_HEADERS + len(_FRAMING)
        super().set_response_params(skip_payload=skip_payload, **params)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        reader = self._reader
        if not data or reader is None or self._is_switched(reader):
            super().data_received(data)
            return
        if reader.is_complete:
            self.force_close()
            return
        try:
            piece = reader.feed(data)
        except NotHttp as error:
            self._refuse(str(error))
            return
        self._pass_on(reader, piece)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Pass on what was read of an answer that the end of the connection ends."""
        reader = self._reader
        if reader is not None and not reader.is_complete and reader.end(CUT_OFF if exc else ""):
            self._pass_on(reader, b"")
        super().connection_lost(exc)

    @staticmethod
    def _is_switched(reader: AnswerReader) -> bool:
        return reader.is_complete and reader.head is not None and reader.head.status == SWITCHING

    def _pass_on(self, reader: AnswerReader, piece: bytes) -> None:
        said = [b"HTTP/1.1 %d Interim\r\n\r\n" % status for status in reader.interim]
        reader.interim.clear()
        head = reader.head
        if head is not None and not self._is_begun:
            self._is_begun = True
            said.append(_by_the_book(head))
        if head is not None and head.is_chunked:
            if piece:
                said.append(b"%x\r\n%b\r\n" % (len(piece), piece))
            if reader.is_complete and not reader.flaw:
                said.append(b"0\r\n\r\n")
        else:
            said.append(piece)
        if self._is_switched(reader):
            said.append(reader.rest)
        elif reader.is_complete and not reader.is_reusable:
            self.force_close()  # before aiohttp hears of the end, and gives the connection back
        super().data_received(b"".join(said))
        if reader.is_complete and reader.flaw and self.transport is not None:
            self.transport.close()  # its end is how aiohttp learns that something is missing

    def _refuse(self, begins: str) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(BadStatusLine(f"not HTTP; it begins with {begins!r}"))


def _by_the_book(head: AnswerHead) -> bytes:
    if head.status == SWITCHING:
        return head.raw
    reason = head.reason.encode("ascii", "replace")
    lines = [b"HTTP/1.1 %d %b" % (head.status, reason)]
    lines.extend(
        b"%b: %b" % (name, _CONTROL.sub(b" ", value))
        for name, value in head.headers.pairs()
        if _NAME.fullmatch(name) and name.lower() not in _FRAMING
    )
    if head.is_chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif head.length is not None:
        lines.append(b"Content-Length: %d" % head.length)
    if len(head.encodings) == 1 and head.encodings[0] in _UNPACKED:
        lines.append(b"Content-Encoding: " + head.encodings[0])
    lines.append(b"Connection: keep-alive" if head.is_clean else b"Connection: close")
    return b"\r\n".join((*lines, b"", b""))
