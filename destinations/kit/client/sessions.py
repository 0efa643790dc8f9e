"""The aiohttp session of a destination, and which lean client stands beside it.

A worker's connector brings its own client, over the supervisor's sockets, and its session sends
URLs and reads answers as that client does. Any other session, as tests make them, gets a client
that connects as its connector says and keeps no connection, since nobody would close it.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import warnings
from typing import Any
from weakref import WeakKeyDictionary

import aiohappyeyeballs
import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from destinations.kit.client.addresses import InvalidUrl, parted
from destinations.kit.client.careful import CarefulHandler
from destinations.kit.client.lean import LeanClient


class LeanConnector(aiohttp.TCPConnector):
    """A connector with a lean client beside it, which is closed with it.

    Its own sessions read answers as that client does.
    """

    client: LeanClient

    # Any: aiohttp's own parameters, which are passed on.
    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        made: functools.partial[ResponseHandler] = functools.partial(_careful, self._loop)
        self._factory = made

    def _close(self, *, abort_ssl: bool = False) -> list[Any]:  # Any: aiohttp's own awaitables
        self.client.close()
        return super()._close(abort_ssl=abort_ssl)


with warnings.catch_warnings():
    # aiohttp discourages it, since what is overridden may change; the lock file and tests hold it.
    warnings.simplefilter("ignore", DeprecationWarning)

    class UrlKeepingSession(aiohttp.ClientSession):
        """A session whose URLs go out as they were written, where they are given as text."""

        def _build_url(self, str_or_url: str | URL) -> URL:
            if isinstance(str_or_url, str):
                try:
                    origin, target = parted(str_or_url)
                    # However an origin is written, it is the same; a target is not.
                    return URL(f"{URL(origin)}".rstrip("/") + target, encoded=True)
                except InvalidUrl:
                    pass  # relative, or of another scheme
            return super()._build_url(str_or_url)


def _careful(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return CarefulHandler(loop)


class _Plain:
    """Sockets as a connector of aiohttp's would make them: its names, its certificates."""

    def __init__(self, connector: aiohttp.TCPConnector) -> None:
        self._connector = connector
        given = connector._ssl
        self.tls = given if isinstance(given, ssl.SSLContext) else ssl.create_default_context()

    async def connect(self, host: str, port: int) -> socket.socket:
        found = await self._connector._resolve_host(host, port)
        return await aiohappyeyeballs.start_connection(
            self._connector._convert_hosts_to_addr_infos(found), happy_eyeballs_delay=0.25
        )


_clients: WeakKeyDictionary[aiohttp.ClientSession, LeanClient] = WeakKeyDictionary()


def client_of(http: aiohttp.ClientSession) -> LeanClient:
    """The lean client to use in place of a session. Raises TypeError where it cannot connect."""
    client = _clients.get(http)
    if client is None:
        connector = http.connector
        if isinstance(connector, LeanConnector):
            client = connector.client
        elif isinstance(connector, aiohttp.TCPConnector):
            client = LeanClient(_Plain(connector), keeps=False)
        else:
            raise TypeError("the session is closed, or its connector makes no TCP connections")
        _clients[http] = client
    return client
