"""Answers of the real servers, and of those that do not exist: for events that are tried.

Owns what is kept of the traffic. `Upstream` passes requests on over connections
that were made for it, `Assumed` answers by itself, so that nothing is sent.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.tracing import Trace
from yarl import URL

from supervisor.tapes.matching import TRANSPORT_HEADERS, for_all
from supervisor.tapes.server import HangUp, Responder
from supervisor.tapes.tape import MAX_BODY, Answer, Call, Exchange, packed

#: Seconds that a real server's answer may take; destinations give up before.
_ANSWER_S = 60.0
_JSON = (("Content-Type", "application/json"),)


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
        place = len(self._kept.calls)
        self._kept.calls.append((call, "no answer was waited for"))
        try:
            answer = await self._inner.answer(call)
        except HangUp as error:
            self._kept.calls[place] = call, str(error)
            raise
        self._kept.calls[place] = call, answer
        return answer


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
    """Passes requests on. An async context manager; implements `Responder`.

    `hand` gives it connections; it makes none by itself, since what may be
    reached is not for it to decide. `tls` says which authorities it trusts.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._connector = _Handed(tls)
        self._http = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def __aenter__(self) -> Upstream:
        """Nothing is opened before there is something to send."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.close()
        self._connector.drop()

    def hand(self, host: str, port: int, connection: socket.socket) -> None:
        """Take a connection to `host`:`port`, to be used for the next requests there."""
        self._connector.hand(host, port, connection)

    async def connect(self, host: str, port: int) -> Answer | None:
        """Connections are handed over, never asked for."""
        return Answer(403, "Forbidden", (), b"no tunnels here\n")

    async def answer(self, call: Call) -> Answer:
        """The real server's answer. Raises HangUp, with the reason, where there is none."""
        headers = [
            (name, value)
            for name, value in call.headers
            if name.lower() not in TRANSPORT_HEADERS or name.lower() in ("host", "user-agent")
        ]
        body = call.body
        if call.header("Content-Encoding") is not None:
            headers.append(("Content-Encoding", "gzip"))
            body = packed(body)
        try:
            async with self._http.request(
                call.method,
                URL(call.url, encoded=True),
                data=body or None,
                headers=headers,
                allow_redirects=False,
            ) as response:
                said = await response.content.read(MAX_BODY)
                while not response.content.at_eof():
                    said += await response.content.read(MAX_BODY - len(said))
                    if len(said) >= MAX_BODY:
                        raise HangUp(f"its answer is larger than {MAX_BODY} bytes")
                return Answer(
                    response.status,
                    response.reason or "",
                    tuple((str(name), value) for name, value in response.headers.items()),
                    said,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise HangUp(f"{type(error).__name__}: {error}"[:500]) from error


class _Handed(aiohttp.BaseConnector):
    """Connects with what it was handed, as aiohttp's `UnixConnector` does with its socket."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(limit=0)
        self._tls = tls
        self._ready: defaultdict[tuple[str, int], deque[socket.socket]] = defaultdict(deque)

    def hand(self, host: str, port: int, connection: socket.socket) -> None:
        self._ready[host, port].append(connection)

    def drop(self) -> None:
        """Close what was handed over and not used."""
        for ready in self._ready.values():
            for connection in ready:
                connection.close()
        self._ready.clear()

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own signature
    ) -> ResponseHandler:
        place = req.url.raw_host or "", req.url.port or 0
        if not self._ready[place]:
            raise aiohttp.ClientConnectionError("the connection has ended, ask for another")
        connection = self._ready[place].popleft()
        try:
            _, made = await asyncio.get_running_loop().create_connection(
                self._factory,
                sock=connection,
                ssl=self._tls if req.is_ssl() else None,
                server_hostname=req.url.raw_host if req.is_ssl() else None,
            )
        except BaseException:
            connection.close()
            raise
        return made
