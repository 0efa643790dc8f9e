"""Both ends of egress in one process: a worker's session, and the broker that it asks."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from destinations.kit.client.sessions import UrlKeepingSession
from sandbox import channel as worker_channel
from sandbox.jail.egress import Egress
from sandbox.protocol import Collect, ToWorkerChannel
from supervisor.egress.broker import Broker, EgressSession, Names
from supervisor.egress.names import Unresolved
from supervisor.egress.policy import EgressPolicy, IpAddress, allowances, host_patterns, target
from supervisor.workers.channel import Channel
from tests.harness.waiting import until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def egress_policy(
    *declared: str, network: str = "declared", allow: Sequence[str] = (), connection: str = "c"
) -> EgressPolicy:
    """What a connection may reach that declares these hosts."""
    allowed, blocks = allowances(allow)
    return EgressPolicy(
        connection=connection,
        destination="trial",
        pool="default",
        network=network,
        declared=len(declared),
        hosts=host_patterns(declared, {}, {}),
        allowed=allowed,
        blocks=blocks,
    )


@dataclass
class Book:
    """Names with the addresses that they have."""

    entries: Mapping[str, Sequence[str]] = field(default_factory=dict)

    async def addresses(self, name: str) -> Collection[IpAddress]:
        """Those in the book."""
        if name not in self.entries:
            raise Unresolved("there is no such host name")
        found = (target(text, 1).host for text in self.entries[name])
        return [address for address in found if not isinstance(address, str)]


class Both:
    """A worker that holds connection "c", and the broker behind it."""

    def __init__(
        self,
        names: Names,
        reaches: Mapping[str, EgressPolicy],
        most_connecting: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.counted: Counter[tuple[str, str]] = Counter()
        self.condemned: list[str] = []
        self.broken: list[str] = []
        self.broker = Broker(
            names,
            counted=lambda connection, result: self.counted.update([(connection, result)]),
            most_connecting=most_connecting,
        )
        self.channel = Channel(ours, self._said, self.broken.append)
        self.egress_session = EgressSession(
            self.broker,
            egress_policy_of=reaches.get,
            send=self.channel.send,
            condemn=self.condemned.append,
        )
        self.egress = Egress(self._ask, tls or ssl.create_default_context())
        self._worker_end = theirs.detach()
        self.worker = worker_channel.SupervisorChannel(self._worker_end, self._heard)
        self.lose_descriptors = False
        self._sessions: list[aiohttp.ClientSession] = []
        self.channel.open()
        self.worker.open()

    def session(self, connection: str = "c") -> aiohttp.ClientSession:
        """A session as the runner makes one."""
        made = UrlKeepingSession(
            connector=self.egress.connector(connection), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._sessions.append(made)
        return made

    async def close(self) -> None:
        """End both."""
        for session in self._sessions:
            await session.close()
        self.egress_session.close()
        self.channel.close()
        await until(lambda: self._is_gone(), 10, "the worker's end has heard of it, and closed")

    def _is_gone(self) -> bool:
        try:
            return not os.fstat(self._worker_end)
        except OSError:
            return True

    def _said(self, message: object) -> None:
        self.egress_session.said(message)  # type: ignore[arg-type]  # the channel's own union

    def _ask(self, message: object) -> None:
        self.worker.send(message)  # type: ignore[arg-type]  # the same

    def _heard(self, message: ToWorkerChannel, descriptor: int | None) -> None:
        if self.lose_descriptors and descriptor is not None:
            socket.close(descriptor)
            descriptor = None
        assert not isinstance(message, Collect), "nobody asks for evidence here"
        self.egress.heard(message, descriptor)


MakeBoth = Callable[..., Both]


@pytest.fixture
async def both() -> AsyncIterator[MakeBoth]:
    """Makes a worker with a broker: `both(reach(...), names=Book(...), most_connecting=100)`."""
    made: list[Both] = []

    def make(
        *reaches: EgressPolicy,
        names: Names | None = None,
        most_connecting: int = 100,
        tls: ssl.SSLContext | None = None,
    ) -> Both:
        by_name = {one.connection: one for one in reaches}
        made.append(Both(names or Book(), by_name, most_connecting, tls))
        return made[-1]

    yield make
    for one in made:
        await one.close()


Serve = Callable[..., Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a handler on a free port of loopback, with TLS where a context is given."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> int:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            port: int = runner.addresses[0][1]
            return port

        yield start
