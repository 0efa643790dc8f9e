"""The admin API's client: requests from commands to a running service.

Owns the way from an answer, or none, to a value or a `CommandError`.
"""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
import msgspec

from supervisor.commands.endpoint import CommandError, Endpoint

#: Seconds that a request may take; an audit of a full queue takes the longest.
TIMEOUT_S = 60.0
#: The same for a heap snapshot, which is taken before the first byte of it is sent.
DOWNLOAD_TIMEOUT_S = 330.0
#: Seconds for which a service that is busy with another's evidence is asked again, and between two
#: times.
BUSY_S, _AGAIN_S = 60.0, 0.5
_PIECE_BYTES = 256 * 1024


class _Error(msgspec.Struct):
    """The body of every error."""

    error: str
    message: str


class AdminClient:
    """Speaks to one service."""

    def __init__(self, endpoint: Endpoint, token: str | None) -> None:
        """Raises click.BadParameter for a token that no header can hold."""
        if token is not None and not token.isprintable():
            raise click.BadParameter(
                "the admin token holds a character that no HTTP header can; look at --token, "
                "BULKHEAD_ADMIN_TOKEN or admin.token"
            )
        self._endpoint = endpoint
        self._token = token

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> bytes:
        """The body of the answer; empty parameters are left out. Raises CommandError."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._request("GET", f"{path}?{urllib.parse.urlencode(given)}" if given else path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:  # Any: JSON
        """The body of the answer. Raises CommandError."""
        return self._request("POST", path, msgspec.json.encode(body or {}))

    @contextmanager
    def download(
        self, path: str, query: Mapping[str, str]
    ) -> Iterator[tuple[str, int | None, Iterator[bytes]]]:
        """The name that the service gives a file, its size where that is known, and its pieces.

        Raises CommandError, also while pieces are read.
        """
        connection = self._endpoint.connect(DOWNLOAD_TIMEOUT_S)
        try:
            until = time.monotonic() + BUSY_S
            while True:
                connection.request(
                    "GET",
                    f"{self._endpoint.base}{path}?{urllib.parse.urlencode(query)}",
                    headers=self._headers(),
                )
                answer = connection.getresponse()
                if answer.status == http.client.OK:
                    break
                content = answer.read()
                # Another is being taken, or has just been: the turn comes by itself.
                if not _is_busy(content) or time.monotonic() > until:
                    raise CommandError(self._refusal(answer.status, content))
                time.sleep(_AGAIN_S)
            name = answer.headers.get_filename("") or path.rpartition("/")[2]
            yield name, answer.length, iter(partial(answer.read, _PIECE_BYTES), b"")
            if answer.length:
                raise CommandError(f"{name}: the service ended in the middle of it")
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(self._endpoint.unreachable(error, "--admin")) from error
        finally:
            connection.close()

    def _headers(self) -> dict[str, str | bytes]:
        # As bytes: the service compares UTF-8, and the standard library would send Latin-1.
        return {"Authorization": f"Bearer {self._token}".encode()} if self._token else {}

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers: dict[str, str | bytes] = {"Accept": "application/json", **self._headers()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._endpoint.connect(TIMEOUT_S)
        try:
            connection.request(method, self._endpoint.base + path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(self._endpoint.unreachable(error, "--admin")) from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise CommandError(self._refusal(answer.status, content))
        return content

    def _refusal(self, status: int, content: bytes) -> str:
        try:
            message = msgspec.json.decode(content, type=_Error).message
        except msgspec.DecodeError:
            return f"{self._endpoint.text}: status {status}; is that a Bulkhead admin API?"
        if status == http.client.UNAUTHORIZED:
            return (
                f"{self._endpoint.text}: the admin token is missing or wrong; give it with --token "
                "or BULKHEAD_ADMIN_TOKEN"
            )
        return message


def _is_busy(content: bytes) -> bool:
    try:
        return msgspec.json.decode(content, type=_Error).error == "busy"
    except msgspec.DecodeError:
        return False


def quoted(name: str) -> str:
    """A name as one step of a path."""
    return urllib.parse.quote(name, safe="")
