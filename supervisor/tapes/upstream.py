"""Answers of the real servers, and of those that do not exist: for events that are tried.

Owns the traffic that is kept. `Upstream` passes requests on over connections that were made for
it, and gives the destination the bytes of the answer as they come: what its client makes of them
is what a delivery would have got. What is kept is what the kit's client reads in the same bytes,
by its own reader, so that no second opinion on HTTP can differ. `Assumed` answers by itself, so
that nothing is sent.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

from destinations.kit.client.addresses import InvalidUrl, origin_of, parted
from destinations.kit.client.answers import AnswerReader, NotHttp, decoded
from destinations.kit.client.bodies import CUT_OFF
from destinations.kit.client.packed import unpacked
from supervisor.tapes.matching import for_all
from supervisor.tapes.server import Client, HangUp, Responder
from supervisor.tapes.tape import MAX_BODY, Answer, Call, Exchange

#: Seconds that a real server's answer may take; destinations give up before.
_ANSWER_S = 60.0
#: Most bytes of an answer that are passed on at a time.
_PIECE = 64 * 1024
#: Headers that are of the client's connection alone: a body is passed on whole, by its length.
_OF_THE_WAY = frozenset({"transfer-encoding", "expect"})
_JSON = (("Content-Type", "application/json"),)

#: Makes another connection to a place that one was handed over for. Raises OSError.
Another = Callable[[], Awaitable[socket.socket]]


class Kept:
    """What passed, in the order of the requests; where there was no answer, why."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, Answer | str]] = []

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Those requests that were answered."""
        return tuple(
            Exchange(call, answer) for call, answer in self.calls if isinstance(answer, Answer)
        )

    async def answered(self, call: Call, answering: Awaitable[Answer]) -> Answer:
        """The answer, kept with its request. Raises what `answering` does."""
        place = len(self.calls)
        self.calls.append((call, "no answer was waited for"))
        try:
            answer = await answering
        except HangUp as error:
            self.calls[place] = call, str(error)
            raise
        self.calls[place] = call, answer
        return answer


class Keeping:
    """A responder that keeps what another answers. Implements `Responder`."""

    def __init__(self, inner: Responder, kept: Kept) -> None:
        self._inner = inner
        self._kept = kept

    async def connect(self, host: str, port: int) -> Answer | None:
        """As the other says."""
        return await self._inner.connect(host, port)

    async def answer(self, call: Call) -> Answer:
        """What the other answers."""
        return await self._kept.answered(call, self._inner.answer(call))


class Assumed:
    """A server to which all is well. `said` are JSON bodies by method and path, "*" a segment.

    A request for a token gets one; any other that `said` does not speak of, an
    empty object. Implements `Responder`.
    """

    def __init__(self, said: Mapping[str, str]) -> None:
        self._said = said

    async def connect(self, host: str, port: int) -> Answer | None:
        """Any place is granted: nothing goes there."""
        return None

    async def answer(self, call: Call) -> Answer:
        """200, with what was said of it."""
        parts = urlsplit(call.url)
        asked = f"{call.method} {parts.path}"
        for pattern, body in self._said.items():
            # A segment more or less is another place.
            if pattern.count("/") == asked.count("/") and fnmatch.fnmatchcase(asked, pattern):
                return Answer(200, "OK", _JSON, for_all(call, body.encode()))
        fields = dict(parse_qsl(parts.query)) | dict(
            parse_qsl(call.body.decode("utf-8", "replace"))
        )
        made: dict[str, object] = {}
        if "grant_type" in fields:
            made = {
                "access_token": "dry-run",
                "token_type": "Bearer",
                "expires_in": 3600,
                "instance_url": f"{parts.scheme}://{parts.netloc}",
            }
        return Answer(200, "OK", _JSON, json.dumps(made).encode())


class Upstream:
    """Passes requests on, and answers back. An async context manager; implements `Relay`.

    `hand` gives it connections; it makes none by itself, since what may be reached is not for it
    to decide. `tls` says which authorities it trusts, `kept` gets what passes.
    """

    def __init__(self, tls: ssl.SSLContext, kept: Kept) -> None:
        self._tls = tls
        self._kept = kept
        self._handed: defaultdict[tuple[str, int], deque[socket.socket]] = defaultdict(deque)
        self._another: dict[tuple[str, int], Another] = {}

    async def __aenter__(self) -> Upstream:
        """Nothing is opened before there is something to send."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        for handed in self._handed.values():
            for connection in handed:
                connection.close()
        self._handed.clear()

    def hand(self, host: str, port: int, connection: socket.socket, another: Another) -> None:
        """Take a connection to `host`:`port` for one request there; `another` makes the next."""
        self._handed[host, port].append(connection)
        self._another[host, port] = another

    async def connect(self, host: str, port: int) -> Answer | None:
        """Connections are handed over, never asked for."""
        return Answer(403, "Forbidden", (), b"no tunnels here\n")

    async def relay(self, call: Call, client: Client) -> None:
        """Pass a request on, and its answer back as it comes. Raises HangUp where there is none."""
        await self._kept.answered(call, self._relayed(call, client))

    async def _relayed(self, call: Call, client: Client) -> Answer:
        """The answer; where the client leaves before its end, as much as came until then."""
        reader = AnswerReader(call.method)
        body = bytearray()
        flaw = why = ""
        try:
            async with asyncio.timeout(_ANSWER_S), self._connection(call.url) as (said, ask):
                ask.write(_request(call, client.body))
                while not reader.is_complete and (data := await said.read(_PIECE)):
                    client.pass_on(data)
                    body += reader.feed(data)
                    if len(body) > MAX_BODY:
                        flaw = f"larger than {MAX_BODY} bytes"
                        break
        except TimeoutError:
            flaw = f"not finished within {_ANSWER_S:g} s"
        except asyncio.CancelledError:
            # The client has read enough, or waited long enough: what it was given is its answer.
            flaw = "not read to its end"
            if not reader.end(flaw):
                raise
        except NotHttp as error:
            raise HangUp(f"its answer is not HTTP; it begins with {str(error)!r}") from error
        except (OSError, InvalidUrl) as error:
            flaw, why = CUT_OFF, f"{type(error).__name__}: {error}"[:500]
        client.stays = reader.is_reusable and not flaw
        if not reader.is_complete and not reader.end(flaw):
            raise HangUp(why or flaw or "it closed the connection before it answered")
        return _read(reader, bytes(body[:MAX_BODY]), reader.flaw or flaw)

    @asynccontextmanager
    async def _connection(
        self, url: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        host, port, is_tls = origin_of(parted(url)[0]).address
        handed = self._handed[host, port]
        another = self._another.get((host, port))
        if handed:
            connection = handed.popleft()
        elif another is not None:
            connection = await another()
        else:
            raise ConnectionError("nobody has asked for a connection to there")
        try:
            said, ask = await asyncio.open_connection(
                sock=connection,
                ssl=self._tls if is_tls else None,
                # Certificates contain names without the dot at their end.
                server_hostname=host.rstrip(".") if is_tls else None,
            )
        except BaseException:
            connection.close()
            raise
        try:
            yield said, ask
        finally:
            ask.transport.abort()  # nothing is owed to the other side


def _request(call: Call, body: bytes) -> bytes:
    """The bytes of a request: as the client sent them, but for how its body is framed."""
    _, target = parted(call.url)
    fields = [f"{name}: {value}" for name, value in call.headers if name.lower() not in _OF_THE_WAY]
    if (body or call.header("Transfer-Encoding")) and call.header("Content-Length") is None:
        fields.append(f"Content-Length: {len(body)}")
    head = "\r\n".join((f"{call.method} {target} HTTP/1.1", *fields, "", ""))
    return head.encode("utf-8", "surrogateescape") + body  # as aiohttp decoded it


def _read(reader: AnswerReader, body: bytes, flaw: str) -> Answer:
    """What the kit's client gives of an answer."""
    head = reader.head
    assert head is not None
    if head.encodings and (body or flaw):
        body, flaw = unpacked(body, flaw, head.encodings, MAX_BODY)
    headers = tuple((decoded(name), decoded(value)) for name, value in head.headers.pairs())
    return Answer(head.status, head.reason, headers, body, flaw)
