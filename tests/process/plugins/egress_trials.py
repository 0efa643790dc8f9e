"""Destinations of the egress tests: one that connects, and some that abuse their channel."""

from __future__ import annotations

import array
import asyncio
import os
import resource
import socket
from collections.abc import Iterator, Sequence

import msgspec

from destinations.kit import Delivered, Destination, Event, Outcome


class Full(Destination):
    """Sends its first event with no open file left, and the next ones as anybody."""

    name = "full"
    hosts = ("{url}",)
    tries = 0

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`url` takes a POST."""

        url: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        Full.tries += 1
        if Full.tries == 1:
            lowest_free = os.dup(1)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            async with self.http.post(self.settings.url, data=events[0].raw):
                return [Delivered()]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Abuser(Destination):
    """Speaks on the channel itself, past its session."""

    name = "abuser"
    hosts = ("declared.example",)

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`does` names one of `ABUSES`."""

        does: str

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        channel = next(filter(None, map(_channel, range(3, 64))))
        channel.setblocking(True)
        rights = array.array("i", [1])
        for datagram in ABUSES[self.settings.does]():
            if self.settings.does == "descriptors":
                channel.sendmsg([datagram], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            else:
                channel.send(datagram)
        await asyncio.Event().wait()
        return []


def _pack(*message: object) -> bytes:
    return msgspec.msgpack.encode(message)


def _connects(host: str, times: int) -> Iterator[bytes]:
    return (_pack(48, 1_000_000 + n, "bad", host, 443) for n in range(times))


#: What the abuser says: datagrams. Ids are far from those that its session uses.
ABUSES = {
    "garbage": lambda: iter([b"\xc1\xff\x00"]),
    "descriptors": lambda: _connects("declared.example", 1),
    "too many at once": lambda: _connects("declared.example", 500),
    "undeclared hosts on and on": lambda: _connects("evil.example", 3_000_000),
}


def _channel(fd: int) -> socket.socket | None:
    try:
        found = socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    if found.family == socket.AF_UNIX and found.type == socket.SOCK_SEQPACKET:
        return found
    found.close()
    return None
