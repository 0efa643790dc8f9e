"""From names to addresses: one query for many askers, and a bounded memory of the answers.

Owns the cache, what failures are called, and which name servers are asked: those that the system's
file names now, however it came to say so. c-ares watches the folder, where a file that is mounted
over it changes unseen; so its content is looked at. A mount shows the file that was there when it
was made: one that takes its name outside later cannot be seen, and that is told. Judges no address:
that is `policy.py`'s, for every answer, cached or not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import aiodns
import pycares
import structlog

from supervisor.egress.policy import IpAddress, unmapped

_log = structlog.get_logger(__name__)

#: Seconds that a name server is given for one try, and that a whole look-up may take.
TRY_S, LOOKUP_S = 1.5, 6.0
#: Seconds for which an answer is used, whatever its TTL says.
LEAST_TTL_S, MOST_TTL_S = 1.0, 300.0
#: Seconds for which "there is no such name" is believed, and for which nobody asks again where no
#: answer came.
NONE_TTL_S, FAILED_TTL_S = 5.0, 1.0
#: Seconds past its end for which an answer is still used while name servers fail (RFC 8767).
STALE_S = 600.0
#: The system's name servers, seconds between two looks at them while names are asked for, and most
#: bytes that are looked at.
RESOLV_CONF = "/etc/resolv.conf"
LOOK_EVERY_S = 2.0
MOST_CONF_BYTES = 64 * 1024
#: Name servers of the system that are asked.
MOST_SERVERS = 8
#: Names that are remembered, and names that are asked for at once.
MOST_NAMES, MOST_LOOKUPS = 4096, 1024
#: Addresses of one name that are tried.
MOST_ADDRESSES = 16

_NO_SUCH_NAME = (pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA)
_TEXTS = {
    pycares.errno.ARES_ENOTFOUND: "there is no such host name",
    pycares.errno.ARES_ENODATA: "the host name has no address",
    pycares.errno.ARES_ETIMEOUT: "no name server answered in time",
    pycares.errno.ARES_ESERVFAIL: "the name server could not answer (SERVFAIL)",
    pycares.errno.ARES_EREFUSED: "the name server refused to answer",
    pycares.errno.ARES_ECONNREFUSED: "no name server can be reached",
}


class Unresolved(Exception):
    """A name has no address now; the text says why. `is_final`: a name server has said so."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


class Overloaded(Exception):
    """More is under way than there is room for; the text says what."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is known of a name; no addresses: `failure` says why.

    By the clock: it is used until `until`, and is true until `ends`.
    """

    addresses: tuple[IpAddress, ...]
    failure: str
    until: float
    ends: float
    is_final: bool = True
    """A name server has said so; otherwise none did."""


class _NameServers:
    """Those that were named at one time; closed once the last query to them has ended."""

    def __init__(self, addresses: Sequence[str]) -> None:
        try:
            self._dns = aiodns.DNSResolver(addresses, timeout=TRY_S, tries=3)
        except pycares.AresError:
            # What the system's file says is no address: c-ares makes of it what it can.
            self._dns = aiodns.DNSResolver(timeout=TRY_S, tries=3)
        self._queries = 0
        self._is_over = False

    async def ask(self, name: str) -> pycares.AddrInfoResult:
        """Addresses of a name, of both families."""
        self._queries += 1
        try:
            return await self._dns.getaddrinfo(name, type=socket.SOCK_STREAM)
        finally:
            self._queries -= 1
            if self._is_over and not self._queries:
                await self._dns.close()

    async def over(self) -> None:
        """Nobody will ask again."""
        self._is_over = True
        if not self._queries:
            await self._dns.close()

    async def close(self) -> None:
        """End at once."""
        await self._dns.close()


class Resolver:
    """Asks the system's name servers, or these `ADDRESS:PORT`, after `/etc/hosts`.

    Must be made on a running event loop. `clock` is seconds that never go back; `path` is the
    system's file, which is followed where no name servers are given.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        path: str = RESOLV_CONF,
    ) -> None:
        self._path = path
        self._follows = not nameservers
        self._conf = _conf(path)
        self._is_told = False
        self._look_at = clock() + LOOK_EVERY_S
        self._servers = _NameServers(nameservers or _named(self._conf))
        self._leaving: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Answer]] = {}

    async def addresses(self, name: str) -> Sequence[IpAddress]:
        """Addresses of a host name, best first, at least one.

        Raises Unresolved, or Overloaded where too many names are being looked up.
        """
        now = self._clock()
        if now >= self._look_at:
            self.follow()
        answer = self._answers.get(name)
        if answer is None or answer.until <= now:
            # Shielded: one asker that gives up must not take the answer from the others.
            answer = await asyncio.shield(self._asking.get(name) or self._ask(name))
        if not answer.addresses:
            raise Unresolved(answer.failure, is_final=answer.is_final)
        return answer.addresses

    def follow(self) -> None:
        """Look which name servers the system names; where they are others, all is asked anew."""
        now = self._clock()
        self._look_at = now + LOOK_EVERY_S
        if self._follows:
            self._tell_if_replaced()
        conf = _conf(self._path) if self._follows else self._conf
        if conf is None or conf == self._conf:
            return  # a file that is being replaced has nothing to say
        self._conf = conf
        leaving = asyncio.get_running_loop().create_task(self._servers.over())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        self._servers = _NameServers(_named(conf))
        # Kept, for as long as the new ones do not answer.
        self._answers = OrderedDict(
            (name, replace(answer, until=now)) for name, answer in self._answers.items()
        )
        self._asking.clear()

    def _tell_if_replaced(self) -> None:
        """Say once of a file that it was replaced outside, under the mount that shows the old one.

        Only a mount has a name lead to a file that has none any more.
        """
        try:
            is_replaced = os.stat(self._path).st_nlink == 0
        except OSError:
            return  # it is being replaced here
        if is_replaced and not self._is_told:
            _log.warning(
                "resolv_conf_replaced",
                path=self._path,
                consequence="the mount shows the old file, whose name servers are asked until the "
                "new one is mounted",
            )
        self._is_told = is_replaced

    async def close(self) -> None:
        """Ask nothing any more."""
        for task in (*self._asking.values(), *self._leaving):
            task.cancel()
        await self._servers.close()

    def _ask(self, name: str) -> asyncio.Task[_Answer]:
        if len(self._asking) >= MOST_LOOKUPS:
            raise Overloaded(f"{MOST_LOOKUPS} host names are being looked up already")
        task = asyncio.get_running_loop().create_task(self._look_up(name))
        self._asking[name] = task
        task.add_done_callback(lambda _: self._asked(name, task))
        return task

    def _asked(self, name: str, task: asyncio.Task[_Answer]) -> None:
        if self._asking.get(name) is task:
            del self._asking[name]

    async def _look_up(self, name: str) -> _Answer:
        servers = self._servers
        answer = await self._query(servers, name)
        if servers is not self._servers:
            return answer  # of name servers that are no longer the system's: not remembered
        before = self._answers.pop(name, None)
        if before is not None and before.addresses and not answer.is_final:
            now = self._clock()
            if now < before.ends + STALE_S:
                answer = replace(before, until=now + FAILED_TTL_S)
        self._answers[name] = answer
        if len(self._answers) > MOST_NAMES:
            self._answers.popitem(last=False)
        return answer

    async def _query(self, servers: _NameServers, name: str) -> _Answer:
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await servers.ask(name)
        except TimeoutError:
            return self._failed(pycares.errno.ARES_ETIMEOUT, "")
        except aiodns.error.DNSError as error:
            return self._failed(error.args[0], str(error.args[-1]))
        nodes = found.nodes[:MOST_ADDRESSES]
        if not nodes:
            return self._failed(pycares.errno.ARES_ENODATA, "")
        ttl_s = min(max(min(node.ttl for node in nodes), LEAST_TTL_S), MOST_TTL_S)
        addresses = dict.fromkeys(
            unmapped(ipaddress.ip_address(node.addr[0].decode())) for node in nodes
        )
        until = self._clock() + ttl_s
        return _Answer(tuple(addresses), "", until, until)

    def _failed(self, code: int, text: str) -> _Answer:
        is_final = code in _NO_SUCH_NAME
        until = self._clock() + (NONE_TTL_S if is_final else FAILED_TTL_S)
        return _Answer((), _TEXTS.get(code, f"the look-up failed: {text}"), until, until, is_final)


def _named(conf: bytes | None) -> list[str]:
    """The name servers that a file names; said to c-ares, which reads the file at its own times."""
    words = (line.split() for line in (conf or b"").decode("ascii", "replace").splitlines())
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"][:MOST_SERVERS]


def _conf(path: str) -> bytes | None:
    """What the file says; None where it says nothing, or cannot be read now."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(file, MOST_CONF_BYTES) or None
        finally:
            os.close(file)
    except OSError:
        return None
