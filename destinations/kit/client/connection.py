"""One connection: a request at a time goes out, its answer is read.

Owns the protocol on the event loop's transport, and how an exchange ends: with the whole answer,
with as much of it as came, or with why there is none. Must not open connections or keep them.
"""

from __future__ import annotations

import asyncio
from typing import cast

from destinations.kit.client.addresses import ServerAddress
from destinations.kit.client.answers import AnswerReader, NotHttp
from destinations.kit.client.bodies import CUT_OFF
from destinations.kit.client.packed import PackedResponse
from destinations.kit.requests import Request, Response


class ConnectionLost(OSError):
    """The connection ended before an answer came; the text says how."""


class TooLate(Exception):
    """No answer came in time."""


class HttpConnection(asyncio.Protocol):
    """To one address, until a time of the loop's clock. Made with `create_connection`."""

    def __init__(self, address: ServerAddress, until: float) -> None:
        self.address = address
        self.until = until
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._answered: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._most = 0
        self._flaw = ""

    @property
    def is_open(self) -> bool:
        """Whether a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """End it at once; an exchange that waits is told that it was lost."""
        if self._transport is not None:
            # Nothing is owed to the other side, not even TLS's goodbye, which it may never answer.
            self._transport.abort()

    async def exchange(self, head: bytes, request: Request, most: int) -> Response:
        """The answer to a request, of whose body at most `most` bytes are read.

        Afterwards the connection is closed unless it may be used again. Raises ConnectionLost,
        NotHttp, and TooLate once `give_up` was called.
        """
        assert self._transport is not None
        reader = self._reader = AnswerReader(request.method)
        self._pieces, self._size, self._most, self._flaw = [], 0, most, ""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(head + request.body if request.body else head)
        try:
            await self._answered
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._reader = self._answered = None
        # What is still to be written the server has answered without, and would take for the
        # next request.
        if self._flaw or not reader.is_reusable or self._transport.get_write_buffer_size():
            self.close()
        answer = reader.head
        assert answer is not None
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        if self._size > most:
            body = body[:most]
        flaw = self._flaw or reader.flaw
        if answer.encodings and (body or flaw):
            return PackedResponse(answer.status, answer.headers, body, flaw, answer.encodings, most)
        return Response(answer.status, answer.headers, body, flaw)

    def give_up(self, timeout_s: float) -> None:
        """End the exchange, whose time is over, with what there is."""
        if self._reader is not None:
            self._end(f"not finished within {timeout_s:g} s", TooLate())
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write on."""
        # uvloop's transports quack like this class but do not inherit it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer; without a request there is none, and the connection ends."""
        reader = self._reader
        if reader is None or reader.is_complete:
            self.close()
            return
        try:
            piece = reader.feed(data)
        except NotHttp as error:
            self._settle(error)
            self.close()
            return
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > self._most:
                self._flaw = f"larger than {self._most} bytes"
                self._settle(None)
                self.close()
                return
        if reader.is_complete:
            self._settle(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange, which may be how its answer says that it is whole."""
        if self._reader is not None and not self._reader.is_complete:
            text = str(getattr(exc, "strerror", None) or exc or "")
            self._end(CUT_OFF if exc is not None else "", ConnectionLost(text))

    def _end(self, flaw: str, without_answer: Exception) -> None:
        assert self._reader is not None
        self._settle(None if self._reader.end(flaw) else without_answer)

    def _settle(self, error: Exception | None) -> None:
        if self._answered is None or self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)
