"""A real name server on loopback that says what a test tells it to, or nothing.

Owns the socket and the count of questions. dnslib reads and writes the packets.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import dnslib


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """`zone` has the addresses of names; `rounds` of them in turn where a name has several lists.

    A name of `silent` is not answered at all, one of `failing` with SERVFAIL, and any other that
    is not in the zone with NXDOMAIN. `asked` counts questions by name, for A records.
    """

    zone: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    ttl_s: int = 60
    asked: Counter[str] = field(default_factory=Counter)
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the class.
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question."""
        question = dnslib.DNSRecord.parse(data)
        name = str(question.q.qname).removesuffix(".").lower()
        kind = question.q.qtype
        if kind == dnslib.QTYPE.A:
            self.asked[name] += 1
        if name in self.silent or self.transport is None:
            return
        answer = question.reply()
        if name in self.failing:
            answer.header.rcode = dnslib.RCODE.SERVFAIL
        elif name not in self.zone:
            answer.header.rcode = dnslib.RCODE.NXDOMAIN
        else:
            rounds = self.zone[name]
            for text in rounds[min(max(self.asked[name] - 1, 0), len(rounds) - 1)]:
                address = ipaddress.ip_address(text)
                is_v6 = address.version == 6
                if kind == (dnslib.QTYPE.AAAA if is_v6 else dnslib.QTYPE.A):
                    octets = tuple(address.packed)
                    record = dnslib.AAAA(octets) if is_v6 else dnslib.A(octets)
                    answer.add_answer(dnslib.RR(name, kind, rdata=record, ttl=self.ttl_s))
        self.transport.sendto(answer.pack(), addr)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve there, on a free port where none is named; the ADDRESS:PORT to ask."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        return f"{host}:{transport.get_extra_info('sockname')[1]}"

    async def stop(self) -> None:
        """Serve no more."""
        if self.transport is not None:
            self.transport.close()
            await asyncio.sleep(0)  # it is closed in the next turn
