"""Stand-ins for secrets and personal data: the same for the same value, of the same form. Pure.

Owns what replaces what. A stand-in still is an e-mail address, a phone number or
an id of the same shape, so that code which is given it does what it did; values
that are derived from the original (lower case, digits alone, hashes) have the
stand-in's own derivative.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from enum import Enum

#: Shorter values are replaced only where they stand alone: they occur in every second word.
_MIN_ANYWHERE, _MIN_WORD, _MIN_PHRASE = 4, 3, 12
EMAIL = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~%-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
PHONE = re.compile(r"\+\d[\d ().-]{6,18}\d")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_HEX_HASH = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?![0-9A-Za-z])")


class Kind(Enum):
    """What a value is, and so what stands in for it."""

    SECRET = "secret"  # noqa: S105 - what stands in for one
    EMAIL = "person"
    PHONE = "phone"
    NAME = "name"
    ID = "id"
    IP = "ip"
    TEXT = "text"


class _Reach(Enum):
    """Where a value is replaced."""

    ANYWHERE = 1
    """Inside of other text and in names, too: it is like nothing else."""
    AS_WORD = 2
    ALONE = 3
    """Where it is the whole value: it is an everyday word."""


class Pseudonyms:
    """Learns values, then replaces them wherever they occur.

    It `finds_people` by the form of their addresses and numbers, too.
    """

    def __init__(self, *, finds_people: bool = True) -> None:
        self._finds_people = finds_people
        self._by_value: dict[str, str] = {}
        self._reach: dict[str, _Reach] = {}
        self._counts: dict[str, int] = {}
        self._longest_first: list[str] | None = None

    def learn(self, value: str, kind: Kind, label: str = "") -> None:
        """Have a value replaced from now on; `label` is what a secret is called."""
        value = value.strip()
        if not value or value in self._by_value or _DATE.fullmatch(value):
            return  # dates tell mappings what to do, and name nobody by themselves
        if kind is Kind.NAME and " " in value:
            for word in value.split():
                self.learn(word, kind)
            self._add(
                value, " ".join(self._by_value.get(word, word) for word in value.split()), kind
            )
        else:
            self._add(value, self._stand_in(value, kind, label), kind)

    def replace(self, text: str) -> str:
        """The text with stand-ins, for what was learned and for what looks like personal data."""
        if text in self._by_value:
            return self._by_value[text]
        text = self.replace_in_name(text)
        for value in self._sorted():
            if self._reach[value] is _Reach.AS_WORD and value in text:
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", self._by_value[value], text)
        return text

    def replace_in_name(self, text: str) -> str:
        """The same for the name of a field, where everyday words are no values."""
        for value in self._sorted():
            if self._reach[value] is _Reach.ANYWHERE and value in text:
                text = text.replace(value, self._by_value[value])
        if not self._finds_people:
            return text
        for pattern, kind in ((EMAIL, Kind.EMAIL), (PHONE, Kind.PHONE), (IPV4, Kind.IP)):
            text = pattern.sub(lambda found, kind=kind: self._found(found[0], kind), text)  # type: ignore[misc]  # bound now, not at the call
        return _HEX_HASH.sub(self._hash, text)

    def number(self, value: int) -> int:
        """The stand-in of a number that was learned as text, else the number itself."""
        known = self._by_value.get(str(value))
        return int(known) if known is not None and known.isdigit() else value

    def left_in(self, text: str) -> list[str]:
        """Learned values that still are in a text, shortened: there should be none."""
        ours = frozenset(self._by_value.values())
        return [
            f"{value[:2]}..."
            for value in self._sorted()
            if self._reach[value] is _Reach.ANYWHERE
            and value in text
            and not any(value in stand_in for stand_in in ours)
        ]

    def _sorted(self) -> list[str]:
        if self._longest_first is None:
            self._longest_first = sorted(self._by_value, key=len, reverse=True)
        return self._longest_first

    def _found(self, value: str, kind: Kind) -> str:
        if value in self._by_value.values():
            return value
        self.learn(value, kind)
        return self._by_value.get(value, value)

    def _hash(self, found: re.Match[str]) -> str:
        text = found[0]
        # Of something that we do not know: it may be a person's address all the same.
        return text if text in self._by_value.values() else "(scrubbed)"

    def _add(self, value: str, stand_in: str, kind: Kind) -> None:
        self._longest_first = None
        for derive in _DERIVATIONS:
            derived = derive(value)
            self._put(derived, derive(stand_in), _reach(derived, kind))
            for algorithm in ("sha256", "sha1", "md5"):
                hashed = _digest(algorithm, derived)
                self._put(hashed, _digest(algorithm, derive(stand_in)), _Reach.ANYWHERE)

    def _put(self, value: str, stand_in: str, reach: _Reach) -> None:
        if value and value not in self._by_value:
            self._by_value[value], self._reach[value] = stand_in, reach

    def _stand_in(self, value: str, kind: Kind, label: str) -> str:
        if kind is not Kind.SECRET and EMAIL.fullmatch(value):
            return f"person{self._count('person')}@example.com"
        if kind is Kind.PHONE or (kind is not Kind.SECRET and PHONE.fullmatch(value)):
            # Numbers that are kept free for stories: 555-0100 to 555-0199.
            digits = f"1555555{100 + self._count('phone') % 100:04d}"
            return f"+{digits}" if value.startswith("+") else digits
        if value.startswith(("http://", "https://")):
            scheme = value.partition(":")[0]
            return f"{scheme}://{label or kind.value}-{self._count('url')}.example.com/"
        if _UUID.fullmatch(value):
            return f"00000000-0000-4000-8000-{self._count('uuid'):012d}"
        if (address := _address(value)) is not None:
            n = self._count("ip")
            return f"192.0.2.{n % 255}" if address.version == 4 else f"2001:db8::{n:x}"
        if value.isascii() and value.isdigit():
            return str(10 ** (len(value) - 1) + self._count("digits"))[: max(len(value), 3)]
        name = label or kind.value
        return f"{name}-{self._count(name)}"

    def _count(self, what: str) -> int:
        self._counts[what] = self._counts.get(what, 0) + 1
        return self._counts[what]


def _digits(value: str) -> str:
    return "".join(c for c in value if c.isdigit()) if PHONE.fullmatch(value) else value


def _plus_digits(value: str) -> str:
    return f"+{_digits(value)}" if PHONE.fullmatch(value) else value


#: What mappings make of a value before they send it.
_DERIVATIONS: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    str.upper,
    str.capitalize,
    _digits,
    _plus_digits,
)


def _reach(value: str, kind: Kind) -> _Reach:
    if kind in (Kind.SECRET, Kind.EMAIL, Kind.PHONE) and len(value) >= _MIN_ANYWHERE:
        return _Reach.ANYWHERE
    if len(value) >= _MIN_ANYWHERE and any(c.isdigit() for c in value):
        return _Reach.ANYWHERE
    if len(value) >= _MIN_PHRASE:
        return _Reach.ANYWHERE
    return _Reach.AS_WORD if kind is Kind.NAME and len(value) >= _MIN_WORD else _Reach.ALONE


def _digest(algorithm: str, value: str) -> str:
    # Not for security: these are what APIs take in place of an address.
    return hashlib.new(algorithm, value.encode(), usedforsecurity=False).hexdigest()


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None
