"""The bytes of a request before its body.

Pure but for what it remembers: the part of a head that the requests of an endpoint share. Must
not let a header break out of its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from destinations.kit.client.addresses import Origin, ServerAddress, origin_of, parted

#: Heads that are remembered; of endpoints, there are a few.
MOST_HEADS = 256
#: Methods whose requests have no body unless they say so.
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(r"[\r\n\0]")
_DEFAULTS = {
    "accept": "Accept: */*\r\n",
    "accept-encoding": "Accept-Encoding: gzip, deflate\r\n",
    "user-agent": "User-Agent: bulkhead\r\n",
}
#: What is said by us alone, since we know how the body travels.
_OURS = frozenset({"content-length", "transfer-encoding"})


class RequestHeads:
    """Makes heads for one client."""

    def __init__(self) -> None:
        self._shared: dict[
            tuple[str, tuple[tuple[str, str], ...]], tuple[ServerAddress, bytes]
        ] = {}

    def head(
        self, method: str, url: str, headers: Mapping[str, str], size: int
    ) -> tuple[ServerAddress, bytes]:
        """Where the request goes, and its head, for a body of `size` bytes.

        Raises InvalidUrl, and ValueError or TypeError where HTTP cannot carry a header.
        """
        origin, target = parted(url)
        # By what the headers hold, and not by which object they are: a token may be renewed in it.
        key = origin, tuple(headers.items())
        shared = self._shared.get(key)
        if shared is None:
            understood = origin_of(origin)
            shared = understood.address, _fields(understood, headers)
            if len(self._shared) >= MOST_HEADS:
                self._shared.clear()
            self._shared[key] = shared
        address, fields = shared
        if not _TOKEN.fullmatch(method):
            raise ValueError("the method is no word of HTTP")
        line = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
        if size:
            kind = b"" if b"\r\ncontent-type:" in fields.lower() else _OCTETS
            return address, b"%b%b%bContent-Length: %d\r\n\r\n" % (line, fields, kind, size)
        length = b"" if method.upper() in _BODILESS else b"Content-Length: 0\r\n"
        return address, b"%b%b%b\r\n" % (line, fields, length)


_OCTETS = b"Content-Type: application/octet-stream\r\n"


def _fields(origin: Origin, headers: Mapping[str, str]) -> bytes:
    said = {}
    lines = []
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"no header can be called {name[:100]!r}")
        if _BREAKS.search(value):
            raise ValueError(f"the header {name} holds the end of a line")
        said[name.lower()] = value
        if name.lower() not in _OURS:
            lines.append(f"{name}: {value}\r\n")
    if "transfer-encoding" in said:
        raise ValueError("bodies travel with their length, and not by Transfer-Encoding")
    if origin.authorization and "authorization" not in said:
        lines.append(f"Authorization: {origin.authorization}\r\n")
    host = "" if "host" in said else f"Host: {origin.authority}\r\n"
    defaults = (line for name, line in _DEFAULTS.items() if name not in said)
    return "".join((host, *defaults, *lines)).encode()
