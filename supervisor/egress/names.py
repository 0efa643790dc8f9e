"""From names to addresses: one query for many askers, and a bounded memory of the answers.

Owns the cache and what failures are called. Judges no address: that is
`policy.py`'s, for every answer, cached or not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import aiodns
import pycares

from supervisor.egress.policy import IpAddress, unmapped

#: Seconds that a name server is given for one try, and that a whole look-up may take.
TRY_S, LOOKUP_S = 1.5, 6.0
#: Seconds for which an answer is used, whatever its TTL says.
LEAST_TTL_S, MOST_TTL_S = 1.0, 300.0
#: Seconds for which "there is no such name" is believed, and for which nobody asks again where no
#: answer came.
NONE_TTL_S, FAILED_TTL_S = 5.0, 1.0
#: Seconds past its end for which an answer is still used while name servers fail (RFC 8767).
STALE_S = 600.0
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
    """A name has no address now; the text says why."""


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


class Resolver:
    """Asks the system's name servers, or these `ADDRESS:PORT`, after `/etc/hosts`.

    Must be made on a running event loop. `clock` is seconds that never go back.
    """

    def __init__(
        self, nameservers: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._dns = aiodns.DNSResolver(nameservers, timeout=TRY_S, tries=3)
        self._clock = clock
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Answer]] = {}

    async def addresses(self, name: str) -> Sequence[IpAddress]:
        """Addresses of a host name, best first, at least one.

        Raises Unresolved, or Overloaded where too many names are being looked up.
        """
        answer = self._answers.get(name)
        if answer is None or answer.until <= self._clock():
            # Shielded: one asker that gives up must not take the answer from the others.
            answer = await asyncio.shield(self._asking.get(name) or self._ask(name))
        if not answer.addresses:
            raise Unresolved(answer.failure)
        return answer.addresses

    async def close(self) -> None:
        """Ask nothing any more."""
        for task in self._asking.values():
            task.cancel()
        await self._dns.close()

    def _ask(self, name: str) -> asyncio.Task[_Answer]:
        if len(self._asking) >= MOST_LOOKUPS:
            raise Overloaded(f"{MOST_LOOKUPS} host names are being looked up already")
        task = asyncio.get_running_loop().create_task(self._look_up(name))
        self._asking[name] = task
        task.add_done_callback(lambda _: self._asking.pop(name, None))
        return task

    async def _look_up(self, name: str) -> _Answer:
        answer = await self._query(name)
        before = self._answers.pop(name, None)
        if before is not None and before.addresses and not answer.is_final:
            now = self._clock()
            if now < before.ends + STALE_S:
                answer = replace(before, until=now + FAILED_TTL_S)
        self._answers[name] = answer
        if len(self._answers) > MOST_NAMES:
            self._answers.popitem(last=False)
        return answer

    async def _query(self, name: str) -> _Answer:
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await self._dns.getaddrinfo(name, type=socket.SOCK_STREAM)
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
