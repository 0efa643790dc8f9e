"""From a URL to where it leads and what is asked for there, byte for byte as it was written.

Pure. Owns what of a URL may not travel as it is. Must not undo or add an escape anywhere else: a
signed URL is good for its very bytes.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from yarl import URL

#: Origins that are remembered.
MOST_ORIGINS = 1024
_URL = re.compile(r"(https?://[^/?#]*)([^#]*)", re.IGNORECASE | re.DOTALL)
#: What may stand in a request line as it is.
_PLAIN = re.compile(r"[!-~]*")
_NOT_PLAIN = re.compile(r"[^!-~]+")


class InvalidUrl(ValueError):
    """What is to be asked is no http or https URL."""


class ServerAddress(NamedTuple):
    """A server: connections are made to it, and kept for it."""

    host: str
    port: int
    is_tls: bool


class Origin(NamedTuple):
    """All of a URL before its path: the server, how it is addressed, and by whom."""

    address: ServerAddress
    authority: str
    """For the header Host."""
    authorization: str
    """For the header of this name; empty where the URL names no user."""


def parted(url: str) -> tuple[str, str]:
    """The origin of a URL, and its target: path and query. Raises InvalidUrl."""
    found = _URL.match(url)
    if found is None:
        raise InvalidUrl
    origin, target = found.groups()
    if not target.startswith("/"):
        target = f"/{target}"
    if not _PLAIN.fullmatch(target):
        try:
            target = _NOT_PLAIN.sub(lambda odd: quote(odd[0], safe=""), target)
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise InvalidUrl from error
    return origin, target


@lru_cache(MOST_ORIGINS)
def origin_of(text: str) -> Origin:
    """What `parted` gave as the origin, understood. Raises InvalidUrl."""
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
        authority = url.host_port_subcomponent
        authorization = ""
        if url.user is not None or url.password is not None:
            pair = f"{url.user or ''}:{url.password or ''}".encode()
            authorization = f"Basic {base64.b64encode(pair).decode()}"
    except ValueError as error:
        raise InvalidUrl from error
    if not host or not port or not authority:
        raise InvalidUrl
    return Origin(ServerAddress(host, port, url.scheme == "https"), authority, authorization)
