"""Opening sockets: to one of several addresses, or through the proxy.

Owns the race between addresses and the tunnel through a proxy. Connects to
the very addresses that it is given, which are judged already; never to a name.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import aiohappyeyeballs
from yarl import URL

from sandbox.protocol import printable
from supervisor.egress.policy import IpAddress, Target, target

#: Seconds of head start for each address before the next is tried beside it (RFC 8305).
HEAD_START_S = 0.25
#: As plain numbers: these are used for each connection.
_STREAM, _TCP, _NONBLOCK = map(int, (socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.SOCK_NONBLOCK))
#: Most bytes of a proxy's answer to CONNECT.
MOST_ANSWER_BYTES = 64 * 1024
_WIRE = b"HTTP/"
_STATUS = re.compile(
    rb"HTTP/\d+(?:\.\d+)?[ \t]+([1-9]\d\d)(?![^ \t\r\n])[ \t]*([^\r\n]*)", re.IGNORECASE
)
_END_OF_HEAD = re.compile(rb"\n\r?\n")


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """Where all egress goes; `authorization` is a header's value, as good as its password."""

    target: Target
    authorization: str | None

    @classmethod
    def of_url(cls, url: str) -> Proxy:
        """From `http://USER:PASSWORD@HOST:PORT`, which the config has checked."""
        parts = URL(url)
        authorization = None
        if parts.user is not None:
            pair = f"{parts.user}:{parts.password or ''}".encode()
            authorization = f"Basic {base64.b64encode(pair).decode()}"
        return cls(target(parts.raw_host or "", parts.port or 80), authorization)


class Unreachable(OSError):
    """No connection; `strerror` says why, in words for a delivery's reason."""


async def connect(addresses: Sequence[IpAddress], port: int) -> socket.socket:
    """A connection to the first of these addresses that answers, not blocking.

    Raises Unreachable with the kernel's reason where none does.
    """
    try:
        if len(addresses) == 1:
            return await _connect_to_one(addresses[0], port)
        return await aiohappyeyeballs.start_connection(
            [_info(address, port) for address in addresses],
            happy_eyeballs_delay=HEAD_START_S,
            interleave=1,
        )
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None) or errno.EIO
        raise Unreachable(number, os.strerror(number)) from error


async def _connect_to_one(address: IpAddress, port: int) -> socket.socket:
    """The same where there is no race. Raises OSError.

    Not the event loop's `sock_connect`: it asks what the address means, which costs more than
    all that is left to do.
    """
    family, kind, protocol, _, where = _info(address, port)
    sock = socket.socket(family, kind | _NONBLOCK, protocol)
    try:
        number = sock.connect_ex(where)
        if number == errno.EINPROGRESS:
            await _until_writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


async def _until_writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable = loop.create_future()

    def tell() -> None:
        if not writable.done():  # the waiter may have been cancelled in this very turn
            writable.set_result(None)

    loop.add_writer(sock.fileno(), tell)
    try:
        await writable
    finally:
        loop.remove_writer(sock.fileno())


def _info(
    address: IpAddress, port: int
) -> tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]:
    if isinstance(address, ipaddress.IPv6Address):
        return socket.AF_INET6, _STREAM, _TCP, "", (str(address), port, 0, 0)
    return socket.AF_INET, _STREAM, _TCP, "", (str(address), port)


async def tunnel(sock: socket.socket, asked: Target, authorization: str | None) -> None:
    """Have the proxy at the other end of `sock` connect it to `asked` (RFC 9110, CONNECT).

    As in the kit's client, the status counts where it was read, and headers decide nothing. Raises
    Unreachable with the proxy's answer where it does not connect.
    """
    loop = asyncio.get_running_loop()
    lines = [f"CONNECT {asked} HTTP/1.1", f"Host: {asked}"]
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    await loop.sock_sendall(sock, "\r\n".join((*lines, "", "")).encode())
    answer = bytearray()
    while (end := _END_OF_HEAD.search(answer)) is None and len(answer) <= MOST_ANSWER_BYTES:
        data = await loop.sock_recv(sock, MOST_ANSWER_BYTES)
        answer += data
        if not data or answer[: len(_WIRE)].upper() != _WIRE[: len(answer)]:
            break
    found = _STATUS.match(answer)
    if found is None:
        raise Unreachable(errno.EPROTO, "the proxy's answer to CONNECT is not HTTP")
    status, reason = int(found[1]), printable(found[2][:100].decode("latin-1").strip())
    if not 200 <= status < 300:
        hint = "; see user and password in sandbox.proxy" if status == 407 else ""
        raise Unreachable(errno.ECONNREFUSED, f"the proxy answered {status} {reason}{hint}")
    if end is None:
        raise Unreachable(errno.EPROTO, "the proxy's answer to CONNECT has no end")
    if end.end() != len(answer):
        # TLS and HTTP let the client speak first. What came is lost, so the connection is too.
        raise Unreachable(errno.EPROTO, "the proxy sent more than its answer to CONNECT")
