"""Where a running service is, and one HTTP connection to it.

Owns the notation of addresses on the command line (`http://HOST:PORT`,
`https://...`, `unix:PATH`) and the words for "nobody answers there". The
standard library's client is used: it is loaded in a few milliseconds, and a
command talks to one server at a time.
"""

from __future__ import annotations

import http.client
import socket
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import click


class CommandError(click.ClickException):
    """The work failed: one line on standard error, exit code 1."""

    exit_code = 1


class ConfigFailed(click.ClickException):
    """The config is wrong: all its errors on standard error, one a line, exit code 2."""

    exit_code = 2


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address; `base` is the path in front of all requests, without a slash at its end."""

    text: str
    scheme: str
    host: str = ""
    port: int | None = None
    base: str = ""

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that opens with its first request; each step takes `timeout_s` at most."""
        match self.scheme:
            case "unix":
                return _UnixConnection(self.host, timeout_s)
            case "https":
                return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s)
            case _:
                return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)

    def unreachable(self, error: OSError | http.client.HTTPException, option: str) -> str:
        """Why nobody answers, and what to do; `option` is the one that gives the address."""
        match error:
            case ConnectionRefusedError():
                why = "connection refused; is the service running?"
            case FileNotFoundError():
                why = "there is no such socket; is the service running?"
            case PermissionError():
                why = "permission denied; run this as the service's user or root"
            case TimeoutError():
                why = "no answer in time; is the service overloaded?"
            case socket.gaierror():
                why = f"no such host ({error.strerror})"
            case OSError():
                why = error.strerror or str(error)
            case _:
                why = f"it broke off ({type(error).__name__}); is that a Bulkhead service?"
        return f"{self.text}: {why} ({option} gives another address)"


def parse_endpoint(text: str) -> Endpoint:
    """Read an address. Raises click.BadParameter for what is none."""
    if not text.isprintable() or (" " in text and not text.startswith("unix:")):
        raise click.BadParameter(f"{text!r} is no address: it holds a blank or a control character")
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise click.BadParameter(f"{text!r} names no socket; write unix:/run/bulkhead.sock")
        return Endpoint(text, "unix", str(Path(path)))
    try:
        url = urllib.parse.urlsplit(text)
        port = url.port
        (url.hostname or "").encode("idna")
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise click.BadParameter(
            f"{text!r} is no address; write http://HOST:PORT, https://HOST:PORT or unix:PATH"
        )
    return Endpoint(text, url.scheme, url.hostname, port, _path(url.path))


def _path(given: str) -> str:
    """As it travels: letters beyond ASCII are escaped, escapes are left alone."""
    return urllib.parse.quote(given.rstrip("/"), safe="/%:@!$&'()*+,;=~")


class EndpointType(click.ParamType[Endpoint]):
    """An address, as an option takes it."""

    name = "url"

    def convert(
        self, value: str | Endpoint, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        return value if isinstance(value, Endpoint) else parse_endpoint(value)
