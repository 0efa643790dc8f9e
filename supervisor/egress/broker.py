"""The broker: answers workers that ask to be connected.

Owns what each worker has asked for and not got yet, the limits on that, and
what is counted and logged of it. Whatever a worker asks is hostile input: a
host that is not allowed is refused, asking for such hosts on and on ends the
worker, and so does asking for more at once than it may.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import psutil
import structlog

from sandbox.protocol import (
    MAX_ASKED,
    MAX_ASKED_PER_CONNECTION,
    Abandon,
    Connect,
    Connected,
    ConnectFailure,
    FromWorkerChannel,
    ProtocolError,
    Taken,
    ToWorkerChannel,
    Unconnected,
)
from supervisor.egress import connecting
from supervisor.egress.connecting import Proxy, Unreachable
from supervisor.egress.names import Overloaded, Unresolved
from supervisor.egress.policy import EgressPolicy, IpAddress, NotAHost, Target, target

_log = structlog.get_logger(__name__)

#: Seconds from a worker's request to its answer. Less than the ten that the kit gives a whole
#: exchange, so that a delivery's reason says that there was no connection.
ANSWER_S = 9.0
#: Refusals that a worker may earn at once, and how many are forgiven in a second. A config that
#: forgets a host costs some hundreds, until the connection backs off.
MOST_REFUSALS, FORGIVEN_PER_S = 2000.0, 20.0
#: Descriptors that may be on their way to one worker. The kernel counts them against our own.
MOST_UNREAD = 16
#: Sockets that are remembered of one worker: more than it may have open.
MOST_GIVEN = 4096
#: Seconds between two log lines about refusals of one connection; what comes between is counted.
LOG_EVERY_S = 10.0


class Result(StrEnum):
    """What became of a request, as the metric counts it."""

    CONNECTED = "connected"
    REFUSED = "refused"
    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    BUSY = "busy"
    ABANDONED = "abandoned"


class Names(Protocol):
    """What resolves; `names.Resolver` does."""

    async def addresses(self, name: str) -> Collection[IpAddress]:
        """At least one. Raises Unresolved or Overloaded."""


class EgressRefused(Exception):
    """The config does not let this be reached; the text says so, and what to do."""


@dataclass(slots=True)
class Refusals:
    """What is told of one connection's refusals."""

    count: int = 0
    last: str = ""
    logged_at: float = float("-inf")
    unlogged: int = 0


class Broker:
    """Connects for all workers of the service.

    `most_connecting` connects may be under way at once. `own_ports` are those that this service
    listens on.
    """

    def __init__(
        self,
        names: Names,
        *,
        counted: Callable[[str, str], None],
        most_connecting: int,
    ) -> None:
        self.refusals: dict[str, Refusals] = {}
        self._names = names
        self._counted = counted
        self._most_connecting = most_connecting
        self._connecting = 0
        self._proxy: Proxy | None = None
        self._own_ports: frozenset[int] = frozenset()

    def follow(self, proxy: str | None, own_ports: Collection[int]) -> None:
        """Follow the config: the proxy's URL, and the ports of this service."""
        self._proxy = None if proxy is None else Proxy.of_url(proxy)
        self._own_ports = frozenset(own_ports)

    def retain(self, connections: Collection[str]) -> None:
        """Forget what the config does not name any more."""
        for name in self.refusals.keys() - set(connections):
            del self.refusals[name]

    async def open(self, egress_policy: EgressPolicy, asked: Target) -> socket.socket:
        """A connected socket, not blocking.

        Raises EgressRefused, Unresolved, Unreachable or Overloaded.
        """
        if refusal := egress_policy.refusal(asked):
            raise EgressRefused(refusal)
        if self._connecting >= self._most_connecting:
            raise Overloaded(f"{self._connecting} connections are being made already")
        self._connecting += 1
        try:
            if self._proxy is not None and not _is_here(asked):
                return await self._open_through(self._proxy, egress_policy, asked)
            addresses = await self._addresses(asked)
            refusals = {
                address: self._judge(egress_policy, asked, address) for address in addresses
            }
            allowed = [address for address, refusal in refusals.items() if refusal is None]
            if not allowed:
                raise EgressRefused(next(filter(None, refusals.values())))
            return await connecting.connect(allowed, asked.port)
        finally:
            self._connecting -= 1

    def note(self, egress_policy: EgressPolicy, result: Result, text: str) -> None:
        """Count what became of a request, and log refusals, not more often than one can read."""
        self._counted(egress_policy.connection, result.value)
        if result is not Result.REFUSED:
            return
        now = asyncio.get_running_loop().time()
        told = self.refusals.setdefault(egress_policy.connection, Refusals())
        told.count += 1
        told.last = text
        if now - told.logged_at < LOG_EVERY_S:
            told.unlogged += 1
            return
        _log.warning(
            "egress_refused",
            pool=egress_policy.pool,
            connection=egress_policy.connection,
            reason=text,
            unlogged_before=told.unlogged,
        )
        told.logged_at, told.unlogged = now, 0

    def _judge(self, egress_policy: EgressPolicy, asked: Target, address: IpAddress) -> str | None:
        is_own = asked.port in self._own_ports and _is_of_this_machine(address)
        return egress_policy.address_refusal(asked, address, is_own=is_own)

    async def _open_through(
        self, proxy: Proxy, egress_policy: EgressPolicy, asked: Target
    ) -> socket.socket:
        # What a name means is for the proxy to know; addresses and the proxy itself are judged.
        if not isinstance(asked.host, str):
            refusal = self._judge(egress_policy, asked, asked.host)
            if refusal is not None:
                raise EgressRefused(refusal)
        if asked == proxy.target and not egress_policy.is_allowed_by_name(asked):
            raise EgressRefused(f"egress refused: {asked} is the proxy itself")
        try:
            sock = await connecting.connect(
                list(await self._addresses(proxy.target)), proxy.target.port
            )
        except Unresolved as error:
            raise Unresolved(
                f"the proxy {proxy.target}: {error}", is_final=error.is_final
            ) from error
        except Unreachable as error:
            raise Unreachable(error.errno, f"the proxy {proxy.target}: {error.strerror}") from error
        try:
            await connecting.tunnel(sock, asked, proxy.authorization)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError) and not isinstance(error, Unreachable):
                raise Unreachable(error.errno or 0, f"the proxy {proxy.target}: {error}") from error
            raise
        return sock

    async def _addresses(self, asked: Target) -> Collection[IpAddress]:
        return (
            await self._names.addresses(asked.host)
            if isinstance(asked.host, str)
            else (asked.host,)
        )


@dataclass(slots=True)
class _Errand:
    """One request of a worker: under way until `task` is done, then on its way to the worker."""

    connection: str
    task: asyncio.Task[None] | None = None


class EgressSession:
    """What one worker asks for.

    `egress_policy_of` says what a connection may reach, None for one that this worker was never
    given; `send` writes to its channel, and `condemn` ends it.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        egress_policy_of: Callable[[str], EgressPolicy | None],
        send: Callable[[ToWorkerChannel, socket.socket | None], None],
        condemn: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._egress_policy_of = egress_policy_of
        self._send = send
        self._condemn = condemn
        self._errands: dict[int, _Errand] = {}
        self._asked: dict[str, int] = {}
        self._last_id = -1
        self._unread: dict[int, tuple[int, str]] = {}
        self.given: dict[int, str] = {}
        """Sockets that the worker has taken, by inode, and for which connection. Who looks at what
        it still has open takes out the others."""
        self._ready: list[tuple[int, socket.socket]] = []
        self._patience = MOST_REFUSALS
        self._refused_at = 0.0
        self._is_closed = False

    def said(self, message: FromWorkerChannel) -> None:
        """Take a message. Raises ProtocolError where it is out of turn."""
        match message:
            case Connect():
                self._connect(message)
            case Taken(id=number):
                if number not in self._unread:
                    raise ProtocolError(f"took connection {number}, which was not sent")
                inode, connection = self._unread.pop(number)
                if len(self.given) >= MOST_GIVEN:
                    del self.given[next(iter(self.given))]
                self.given[inode] = connection
                self._forget(number)
                self._hand_out()
            case Abandon(id=number):
                errand = self._errands.get(number)
                if errand is not None and errand.task is not None:
                    # Not at once: a task that is cancelled ahead of its first step runs none of
                    # its code, and would leave the request unanswered.
                    asyncio.get_running_loop().call_soon(errand.task.cancel)

    def close(self) -> None:
        """The worker is gone: connect for it no more."""
        self._is_closed = True
        for errand in self._errands.values():
            if errand.task is not None:
                errand.task.cancel()
        for _, sock in self._ready:
            sock.close()
        self._ready.clear()

    def _connect(self, message: Connect) -> None:
        egress_policy = self._egress_policy_of(message.connection)
        if egress_policy is None:
            raise ProtocolError(f"asks for {message.connection[:100]!r}, which it was not given")
        if message.id <= self._last_id:
            raise ProtocolError(f"uses id {message.id} again")
        asked = self._asked.get(message.connection, 0)
        if asked >= MAX_ASKED_PER_CONNECTION or len(self._errands) >= MAX_ASKED:
            raise ProtocolError(f"asks for more connections at once than it may ({asked} are)")
        self._last_id = message.id
        self._asked[message.connection] = asked + 1
        errand = self._errands[message.id] = _Errand(message.connection)
        errand.task = asyncio.get_running_loop().create_task(self._serve(message, egress_policy))

    async def _serve(self, message: Connect, egress_policy: EgressPolicy) -> None:
        sock: socket.socket | None = None
        result, kind, number, text = Result.CONNECTED, ConnectFailure.UNREACHABLE, 0, ""
        try:
            async with asyncio.timeout(ANSWER_S):
                sock = await self._broker.open(egress_policy, target(message.host, message.port))
        except (EgressRefused, NotAHost) as error:
            result, kind, text = Result.REFUSED, ConnectFailure.REFUSED, str(error)
            if isinstance(error, NotAHost):
                text = f"egress refused: {text}"
        except Unresolved as error:
            result, kind, text = Result.UNRESOLVED, ConnectFailure.UNRESOLVED, str(error)
            number = errno.ENOENT if error.is_final else 0
        except Unreachable as error:
            result, kind = Result.UNREACHABLE, ConnectFailure.UNREACHABLE
            number, text = error.errno or 0, error.strerror or ""
        except Overloaded as error:
            result, kind, text = Result.BUSY, ConnectFailure.BUSY, str(error)
        except TimeoutError:
            result, kind = Result.TIMED_OUT, ConnectFailure.TIMED_OUT
            text = f"no connection within {ANSWER_S:g} s"
        except asyncio.CancelledError:
            # Nobody waits for it. An answer is due all the same: it frees the worker's slot.
            result, kind, text = Result.ABANDONED, ConnectFailure.TIMED_OUT, "abandoned"
        except Exception as error:  # noqa: BLE001 - a bug of ours costs one request, and no slot
            _log.error("egress_failed", connection=egress_policy.connection, exc_info=error)
            result, kind = Result.UNREACHABLE, ConnectFailure.UNREACHABLE
            text = "a bug; see the service's log"
        self._answer(
            message.id, egress_policy, result, sock, Unconnected(message.id, kind, number, text)
        )

    def _answer(
        self,
        number: int,
        egress_policy: EgressPolicy,
        result: Result,
        sock: socket.socket | None,
        why_not: Unconnected,
    ) -> None:
        self._errands[number].task = None
        if self._is_closed:
            if sock is not None:
                sock.close()
            return
        self._broker.note(egress_policy, result, why_not.text)
        if sock is not None:
            self._ready.append((number, sock))
            self._hand_out()
            return
        self._forget(number)
        self._send(why_not, None)
        if result is Result.REFUSED:
            self._lose_patience(egress_policy)

    def _hand_out(self) -> None:
        while self._ready and len(self._unread) < MOST_UNREAD:
            number, sock = self._ready.pop(0)
            self._unread[number] = os.fstat(sock.fileno()).st_ino, self._errands[number].connection
            self._send(Connected(number), sock)

    def _forget(self, number: int) -> None:
        errand = self._errands.pop(number)
        left = self._asked[errand.connection] - 1
        if left:
            self._asked[errand.connection] = left
        else:
            del self._asked[errand.connection]

    def _lose_patience(self, egress_policy: EgressPolicy) -> None:
        now = asyncio.get_running_loop().time()
        earned = (now - self._refused_at) * FORGIVEN_PER_S
        self._refused_at = now
        self._patience = min(MOST_REFUSALS, self._patience + earned) - 1
        if self._patience < 0:
            self._condemn(
                f"it asked for what it may not reach more than {MOST_REFUSALS:g} times,"
                f" for {egress_policy.connection} at last"
            )


def _is_here(asked: Target) -> bool:
    """Whether this is this very machine: no proxy's business, and never what it means there."""
    if isinstance(asked.host, str):
        return asked.host == "localhost" or asked.host.endswith(".localhost")
    return asked.host.is_loopback


def _is_of_this_machine(address: IpAddress) -> bool:
    if address.is_loopback or address.is_unspecified:
        return True
    return str(address) in {
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
    }
