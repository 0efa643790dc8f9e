"""Single values of the config file: text to numbers, addresses and names.

Owns the notation of sizes, durations, rates and addresses, and the words for
what is wrong with one. Pure, and knows no section or key. A parser takes what
TOML gave and returns the value, or raises Invalid.
"""

from __future__ import annotations

import difflib
import ipaddress
import itertools
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from supervisor.config.types import Address

Parser = Callable[[object], object]

_SIZE_UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_SIZE = re.compile(rf"({_NUMBER})\s?([A-Za-z]+)", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+", re.ASCII)
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)", re.ASCII)
_RATE = re.compile(rf"({_NUMBER})\s?/\s?([a-z]+)", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", re.ASCII)
#: A token of RFC 9110.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_EVENT_PATH = re.compile(r"[^\s.\[\]]{1,200}(?:\.[^\s.\[\]]{1,200}){0,15}")
_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
#: `sun_path` holds 108 bytes, one of them the closing zero (unix(7)).
_LONGEST_SOCKET_PATH = 107


class Invalid(Exception):
    """What is wrong with a value: (path below it, text) for each thing that is."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


class Secret(str):
    """A string that came from `{ env = ... }` or `{ file = ... }`: errors must not show it."""

    __slots__ = ()


def shown(value: object) -> str:
    """A value as errors show it: short, as TOML writes it, and never a secret."""
    match value:
        case Secret():
            return "the secret"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"' if len(value) <= 60 and value.isprintable() else "that string"
        case int() | float():
            return str(value) if abs(value) < 10**18 else "that number"
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean "...")` for the known word that is nearest, or nothing."""
    few = itertools.islice(known, 100)  # matching is slow, and a config may have 10 000 names
    near = difflib.get_close_matches(word[:64], few, n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""


def wrong(value: object, wanted: str) -> Invalid:
    """The common form of an error: what is there, and what to write instead."""
    return Invalid(("", f"is {shown(value)}; write {wanted}"))


def text(value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise wrong(
            value, 'a string, or a secret: { env = "NAME" } or { file = "PATH" } with one key'
        )
    if not value:
        raise Invalid(("", "is empty; write a string or leave the key out"))
    return str(value)


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(value, "true or false, without quotes")
    return value


def integer(least: int, most: int) -> Callable[[object], int]:
    """A whole number between `least` and `most`, both included."""

    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise wrong(value, f"a whole number from {least} to {most}")
        return value

    return parse


def size(least: str, most: str) -> Callable[[object], int]:
    """A size in bytes between two sizes, both included: `"256MiB"`, `"1.5GB"`."""
    low, high = _size(least), _size(most)

    def parse(value: object) -> int:
        count = _size(value)
        if not low <= count <= high:
            raise wrong(value, f'a size from "{least}" to "{most}"')
        return count

    return parse


def _size(value: object) -> int:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _SIZE_UNITS:
        raise wrong(value, f'a size such as "256MiB" (units: {", ".join(_SIZE_UNITS)})')
    return int(float(found[1]) * _SIZE_UNITS[found[2]])


def duration(least: str, most: str) -> Callable[[object], float]:
    """Seconds, between two durations, both included: `"30s"`, `"1h30m"`, `"50ms"`."""
    low, high = _duration(least), _duration(most)

    def parse(value: object) -> float:
        seconds = _duration(value)
        if not low <= seconds <= high:
            raise wrong(value, f'a duration from "{least}" to "{most}"')
        return seconds

    return parse


def _duration(value: object) -> float:
    if not isinstance(value, str) or _DURATION.fullmatch(value) is None:
        raise wrong(value, 'a duration such as "30s", "50ms" or "1h30m" (units: ms, s, m, h, d)')
    return math.fsum(
        float(number) * _TIME_UNITS[unit] for number, unit in _DURATION_PART.findall(value)
    )


def rate(value: object) -> float:
    """Events per second: `"500/s"`, `"100/m"`."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _RATE_UNITS or float(found[1]) == 0:
        raise wrong(value, 'a rate above zero such as "500/s" or "100/m" (units: s, m, h, d)')
    return float(found[1]) / _RATE_UNITS[found[2]]


def one_of(*choices: str) -> Callable[[object], str]:
    """One of a few words."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            wanted = " or ".join(f'"{choice}"' for choice in choices)
            hint = did_you_mean(value, choices) if type(value) is str else ""
            raise wrong(value, wanted + hint)
        return str(value)

    return parse


def list_of(item: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    """An array of strings, each of them checked, none of them twice."""

    def parse(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise wrong(value, 'an array, such as ["..."]')
        items: dict[str, None] = {}  # an ordered set
        problems: list[tuple[str, str]] = []
        for index, entry in enumerate(value):
            try:
                parsed = item(entry)
            except Invalid as error:
                problems += [(f"[{index}]{below}", said) for below, said in error.problems]
                continue
            if parsed in items:
                problems.append((f"[{index}]", "is there twice; leave one out"))
            items[parsed] = None
        if problems:
            raise Invalid(*problems)
        return tuple(items)

    return parse


def non_empty(
    parse: Callable[[object], tuple[str, ...]],
) -> Callable[[object], tuple[str, ...]]:
    """As `parse`, and with at least one item."""

    def parse_some(value: object) -> tuple[str, ...]:
        items = parse(value)
        if not items:
            raise Invalid(("", "is empty; name at least one"))
        return items

    return parse_some


def is_name(word: str) -> bool:
    """Whether `word` may name a pool, source, connection or destination.

    Names stand in metrics, URLs, logs and worker ids, so they are plain.
    """
    return _NAME.fullmatch(word) is not None


def class_path(value: object) -> str:
    """`module:Class`."""
    if not isinstance(value, str) or _CLASS_PATH.fullmatch(value) is None:
        raise wrong(value, '"module:Class", such as "leaky:Leaky"')
    return str(value)


def write_key(value: object) -> str:
    """A write key: what HTTP Basic can carry as a user name (RFC 7617 allows no colon)."""
    key = text(value)
    if ":" in key or not key.isprintable() or key != key.strip():
        raise Invalid(
            ("", "is no write key; it may hold no colon, control characters or outer blanks")
        )
    return key


def path(base: Path) -> Callable[[object], Path]:
    """A path, relative to `base` where it is not absolute."""

    def parse(value: object) -> Path:
        word = text(value)
        if "\0" in word:
            raise wrong(value, "a path; none holds a zero byte")
        return base / word

    return parse


def address(base: Path) -> Callable[[object], Address]:
    """Where to listen: `HOST:PORT`, `[::1]:PORT` or `unix:PATH`."""
    socket_path = path(base)

    def parse(value: object) -> Address:
        word = text(value)
        if word.startswith("unix:"):
            where = socket_path(word.removeprefix("unix:"))
            if len(str(where).encode()) > _LONGEST_SOCKET_PATH:
                raise Invalid(
                    (
                        "",
                        f"makes a socket path of more than {_LONGEST_SOCKET_PATH} bytes, "
                        "the most that the kernel takes; use a shorter one",
                    )
                )
            return Address(path=where)
        parts = _host_and_port(word)
        if parts is None:
            raise wrong(value, '"HOST:PORT", "[::1]:PORT" or "unix:PATH", such as "127.0.0.1:8190"')
        return Address(host=parts[0], port=parts[1])

    return parse


def allowed(value: object) -> str:
    """An address that workers may connect to: `host:port`, or a CIDR block."""
    word = text(value)
    if "/" in word:
        try:
            return str(ipaddress.ip_network(word))
        except ValueError as error:
            said = "" if isinstance(value, Secret) else f": {error}"
            raise Invalid(("", f"is no CIDR block{said}; write one such as 10.1.0.0/16")) from error
    parts = _host_and_port(word)
    if parts is None or parts[1] == 0:
        raise wrong(value, '"host:port" or a CIDR block, such as "10.0.0.5:8080" or "10.1.0.0/16"')
    return str(Address(host=parts[0].lower(), port=parts[1]))


def host_name(value: object) -> str:
    """A name or address that a request's Host may be, with a port where only that one is meant."""
    word = text(value).lower()
    parts = _host_and_port(word)
    if parts is not None and parts[1] != 0:
        return word
    is_v6 = word.startswith("[") and _host_and_port(f"{word}:1") is not None
    if not is_v6 and not _HOST.fullmatch(word):
        raise wrong(value, 'a host, such as "bulkhead.example.com" or "bulkhead.example.com:8443"')
    return word.strip("[]")


def header_name(value: object) -> str:
    """The name of an HTTP header."""
    if not isinstance(value, str) or _HEADER.fullmatch(value) is None:
        raise wrong(value, 'the name of a header, such as "X-Forwarded-User"')
    return str(value)


def event_path(value: object) -> str:
    """A place in events: names with dots between them, at most 16."""
    if not isinstance(value, str) or _EVENT_PATH.fullmatch(value) is None:
        raise wrong(value, 'a path in events, such as "traits.email" or "context.ip"')
    return str(value)


def _host_and_port(word: str) -> tuple[str, int] | None:
    """Split `host:port` or `[v6]:port`; None where it is neither. IPv6 comes back compressed."""
    host, colon, port = word.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            return None
    return (host, int(port)) if _HOST.fullmatch(host) else None


def proxy_url(value: object) -> str:
    """`http://HOST:PORT` of a proxy, with user and password where it wants them."""
    word = text(value)
    try:
        parts = urlsplit(word)
        valid = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False  # a port or an IPv6 address that is none
    if not valid or not word.isprintable() or " " in word:
        raise Invalid(("", 'is no URL of a proxy; write one such as "http://proxy.internal:3128"'))
    return word
