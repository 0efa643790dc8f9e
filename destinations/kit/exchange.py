"""One HTTP exchange: a request goes out, a response or an outcome comes back.

Owns the limits on answers (time, bytes, no redirects) and the one place where
aiohttp's exceptions become outcomes. Reasons name host and port and never the
URL, since tokens live in paths and queries. Must not interpret an answer.
"""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from destinations.kit.outcomes import Cause, Failed, Outcome, Retry
from destinations.kit.requests import Request, Response


class Limits:
    """What one exchange may take: seconds from its start to the end of the answer, and bytes."""

    __slots__ = ("answer_bytes", "timeout", "timeout_s")

    def __init__(self, timeout_s: float, answer_bytes: int) -> None:
        self.timeout_s = timeout_s
        self.answer_bytes = answer_bytes
        self.timeout = aiohttp.ClientTimeout(total=timeout_s)


async def exchange(
    http: aiohttp.ClientSession, request: Request, limits: Limits
) -> Response | Outcome:
    """Send the request. An outcome is returned where no answer came.

    An answer whose body is too large, too slow or cut off is a Response with a
    `flaw`: the server has decided, only its words are incomplete.
    """
    try:
        async with http.request(
            request.method,
            request.url,
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
            timeout=limits.timeout,
        ) as response:
            body, flaw = await _read(response, limits)
            return Response(response.status, response.headers, body, flaw)
    except (aiohttp.ClientError, OSError, ValueError, TypeError) as error:
        return _outcome(error, request, limits)


async def _read(response: aiohttp.ClientResponse, limits: Limits) -> tuple[bytes, str]:
    content = response.content
    body = b""
    try:
        while not content.at_eof():
            body += await content.readany()
            if len(body) > limits.answer_bytes:
                response.close()
                return body[: limits.answer_bytes], f"larger than {limits.answer_bytes} bytes"
    except TimeoutError:
        response.close()
        return body, f"not finished within {limits.timeout_s:g} s"
    except (aiohttp.ClientError, OSError):
        response.close()
        return body, "cut off in the middle"
    return body, ""


def _outcome(error: Exception, request: Request, limits: Limits) -> Outcome:
    place = _place(request.url)
    match error:
        case aiohttp.InvalidURL():
            return Failed("the URL to send to is not valid; see the connection's settings")
        case aiohttp.ClientConnectorCertificateError():
            return Retry(f"{place}: its TLS certificate is not trusted: {_text(error)}")
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return Retry(f"{place}: TLS failed: {_text(error)}")
        case aiohttp.ConnectionTimeoutError():
            return Retry(f"{place}: no connection in time", cause=Cause.CONNECT)
        case aiohttp.ClientConnectorError():
            return Retry(f"{place}: no connection: {_text(error)}", cause=Cause.CONNECT)
        case asyncio.TimeoutError():
            return Retry(f"{place}: no answer within {limits.timeout_s:g} s", cause=Cause.TIMEOUT)
        case aiohttp.ServerDisconnectedError():
            return Retry(f"{place}: closed the connection before it answered", cause=Cause.CONNECT)
        case aiohttp.ClientResponseError():
            return Retry(f"{place}: its answer is not HTTP: {error.message}"[:500])
        case aiohttp.ClientError() | OSError():
            return Retry(f"{place}: {type(error).__name__}: {_text(error)}", cause=Cause.CONNECT)
        case _:  # ValueError, TypeError: what was to be sent is no request
            return Failed(f"{place}: could not be sent: {type(error).__name__}: {error}"[:500])


def _text(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    return str(getattr(cause, "strerror", None) or cause)[:300]


def _place(url: str) -> str:
    try:
        parsed = URL(url)
        return f"{parsed.host}:{parsed.port}"
    except ValueError:
        return "the destination"  # not even a URL
