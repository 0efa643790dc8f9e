"""One HTTP exchange: a request goes out, a response or an outcome comes back.

Owns the one place where it becomes an outcome that no answer came. Reasons name host and port and
never the URL, since tokens live in paths and queries, and hold nothing of a server's bytes but
print. Must not interpret an answer.
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass

import aiohttp
from yarl import URL

from destinations.kit.client import (
    ConnectionLost,
    InvalidUrl,
    NotHttp,
    TooLate,
    Unconnectable,
)
from destinations.kit.client.sessions import client_of
from destinations.kit.exchanged import last_exchange
from destinations.kit.outcomes import Cause, Failed, Outcome, Retry
from destinations.kit.requests import Request, Response


@dataclass(frozen=True, slots=True)
class Limits:
    """What one exchange may take: seconds from its start to the end of the answer, and bytes."""

    timeout_s: float
    answer_bytes: int


async def exchange(
    http: aiohttp.ClientSession, request: Request, limits: Limits
) -> Response | Outcome:
    """Send the request. An outcome is returned where no answer came.

    An answer whose body is too large, too slow or cut off is a Response with a
    `flaw`: the server has decided, only its words are incomplete.
    """
    try:
        said: Response | Outcome = await client_of(http).send(
            request, limits.timeout_s, limits.answer_bytes
        )
    except (Unconnectable, ConnectionLost, NotHttp, TooLate, ValueError, TypeError) as error:
        said = _outcome(error, request, limits)
    last_exchange.set((request, said))
    return said


def _outcome(error: Exception, request: Request, limits: Limits) -> Outcome:
    place = _place(request.url)
    match error:
        case InvalidUrl():
            return Failed("the URL to send to is not valid; see the connection's settings")
        case Unconnectable():
            return _unconnectable(place, error.__cause__)
        case TooLate():
            return Retry(f"{place}: no answer within {limits.timeout_s:g} s", cause=Cause.TIMEOUT)
        case ConnectionLost():
            how = f" ({error})" if str(error) else ""
            return Retry(
                f"{place}: closed the connection before it answered{how}", cause=Cause.CONNECT
            )
        case NotHttp():
            began = f"; it begins with {str(error)!r}" if str(error) else ""
            return Retry(f"{place}: its answer is not HTTP{began}")
        case _:  # ValueError, TypeError: what was to be sent is no request
            return Failed(f"{place}: could not be sent: {type(error).__name__}: {error}"[:500])


def _unconnectable(place: str, error: BaseException | None) -> Outcome:
    match error:
        case ssl.SSLCertVerificationError():
            reason = f"{place}: its TLS certificate is not trusted: {_certificate(error)}"
            return Retry(reason, cause=Cause.SETUP)
        case ssl.SSLError():
            return Retry(f"{place}: TLS failed: {_tls(error)}")
        case TimeoutError():
            return Retry(f"{place}: no connection in time", cause=Cause.CONNECT)
        case _:
            text = str(getattr(error, "strerror", None) or error)[:300]
            cause = Cause.SETUP if _is_unknown(error) else Cause.CONNECT
            return Retry(f"{place}: no connection: {text}", cause=cause)


def _is_unknown(error: BaseException | None) -> bool:
    """Whether a name server has said that there is no such host, and not: none has answered."""
    # The first is the worker's own, the others the resolver's of a process that has one.
    unknown = errno.ENOENT, socket.EAI_NONAME, socket.EAI_NODATA
    return isinstance(error, OSError) and error.errno in unknown


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    return str(error.verify_message or error.reason or error)[:300]


def _tls(error: ssl.SSLError) -> str:
    # "WRONG_VERSION_NUMBER" is what a port that does not speak TLS comes to.
    if error.reason == "WRONG_VERSION_NUMBER":
        return "what answers there does not speak it; is it an http:// address?"
    return (error.reason or str(error)).replace("_", " ").lower()[:300]


def _place(url: str) -> str:
    try:
        parsed = URL(url)
        return f"{parsed.host}:{parsed.port}"
    except ValueError:
        return "the destination"  # not even a URL
