"""aiohttp's server, with answers of our own to what is no HTTP.

Owns what a client gets that sent a request line, headers or framing which the parser
refuses: no handler is ever asked then, and aiohttp alone would answer with its own text,
with the client's bytes in it. Must not know what either API's answers look like: the caller
renders them.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

#: Status, a code in snake_case and a message, to an answer.
Render = Callable[[int, str, str], web.Response]


class HttpRunner(web.AppRunner):
    """Runs an app whose clients are told by `render` that what they sent is no HTTP."""

    __slots__ = ("_keep_alive_s", "_render")

    def __init__(
        self, app: web.Application, render: Render, *, keep_alive_s: float, last_request_s: float
    ) -> None:
        """`last_request_s`: what a request may still take when the server stops."""
        super().__init__(
            app, access_log=None, keepalive_timeout=keep_alive_s, shutdown_timeout=last_request_s
        )
        self._render = render

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(self._render, made)


class _Server(web.Server):
    """A factory of protocols, as the one that it is made from."""

    def __init__(self, render: Render, made: web.Server) -> None:
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            loop=made._loop,
            **made._kwargs,
        )
        self._render = render

    def __call__(self) -> RequestHandler:
        return _Handler(self._render, self)


class _Handler(RequestHandler):
    """One connection."""

    __slots__ = ("_render",)

    def __init__(self, render: Render, server: _Server) -> None:
        super().__init__(server, loop=server._loop, **server._kwargs)
        self._render = render

    def handle_error(
        self,
        request: BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never came to a handler; the connection ends with it.

        What did come to one, and failed there, is aiohttp's to log and to answer.
        """
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")  # aiohttp closes the connection
        answer = self._render(*_told(exc))
        answer.force_close()
        return answer


def _told(error: HttpProcessingError) -> tuple[int, str, str]:
    text = error.message.lower()
    if isinstance(error, LineTooLong) or "too many" in text or "more than" in text:
        return (
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            "the request line or a header is longer than 8190 bytes, or there are more than 128 "
            "headers",
        )
    return (
        HTTPStatus.BAD_REQUEST,
        "bad_http",
        "the request cannot be read as HTTP/1.1: look at its request line, headers and framing",
    )
