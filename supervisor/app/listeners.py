"""Where both APIs listen: their sockets, how many clients each may have at once, and their end.

Owns the sockets from the bind to the close. Must not know what is answered.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiohttp import web

from supervisor.config import Address, ConfigError
from supervisor.runtime.acceptor import Acceptor
from supervisor.runtime.http_errors import HttpRunner, Render
from supervisor.runtime.systemd import InheritedSocket

#: Seconds that a client may take between two requests before its connection is closed.
KEEP_ALIVE_S = 75.0
#: Seconds that a request which is under way may take when the service stops.
LAST_REQUEST_S = 2.0
#: Connections that wait in the kernel to be accepted.
BACKLOG = 1024


class Listeners:
    """Of one service. `config_path` is named where an address cannot be bound."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._sockets: dict[str, socket.socket] = {}
        self._paths: list[Path] = []
        self._runners: list[HttpRunner] = []
        self._acceptors: list[Acceptor] = []

    def bind(self, addresses: Mapping[str, Address], inherited: Sequence[InheritedSocket]) -> None:
        """Listen at each address, by the name of its section, or take the socket that was passed.

        Raises ConfigError.
        """
        self._sockets = {item.name: item.socket for item in inherited}
        for name, address in addresses.items():
            if name not in self._sockets:
                self._sockets[name] = self._listen(address, f"{name}.listen")

    @property
    def ports(self) -> frozenset[int]:
        """The TCP ports that we listen on."""
        found = (sock for sock in self._sockets.values() if sock.family != socket.AF_UNIX)
        return frozenset(sock.getsockname()[1] for sock in found)

    async def serve(self, name: str, app: web.Application, most: int, not_http: Render) -> None:
        """Serve `app` on the socket of that name, `most` connections at once.

        `not_http` makes the answer to what no handler of the app is asked for.
        """
        runner = HttpRunner(app, not_http, keep_alive_s=KEEP_ALIVE_S, last_request_s=LAST_REQUEST_S)
        await runner.setup()
        server = runner.server
        assert server is not None
        acceptor = Acceptor(
            name,
            self._sockets[name],
            server,
            most=most,
            count=lambda: len(server.connections),
            refusal=_refusal("code" if name == "api" else "error"),
        )
        self._runners.append(runner)
        self._acceptors.append(acceptor)
        acceptor.open()

    async def close(self) -> None:
        """Accept nobody, let requests end for a moment, and close every connection."""
        for acceptor in self._acceptors:
            acceptor.close()
        for runner in self._runners:
            await runner.cleanup()
        for sock in self._sockets.values():
            sock.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _listen(self, address: Address, key: str) -> socket.socket:
        try:
            if address.path is not None:
                return self._listen_unix(address.path)
            found = socket.getaddrinfo(
                address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, where = found[0]
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen(BACKLOG)
        except OSError as error:
            reason = f"{self._config_path}: {key}: cannot listen on {address}: {error.strerror}"
            raise ConfigError([reason]) from error
        return sock

    def _listen_unix(self, path: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if path.is_socket():
            # Left behind by a service that was killed, unless somebody answers there.
            try:
                sock.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                sock.close()
                raise OSError(98, "somebody listens there already")
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
        self._paths.append(path)
        return sock


def _refusal(key: str) -> bytes:
    """The answer to whom there is no room for. `key` is where the API's errors have their word."""
    message = "the service has as many connections as it may have; close idle ones, or try again"
    body = json.dumps({key: "too_many_connections", "message": message}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Retry-After: 1\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
