"""How many bytes of request bodies the service holds at once, and whose they are.

Owns two pots: one for bodies whose sender has shown a write key, and a small one for those that
have yet to, since anybody can begin one. In each, one source and one address may hold a share, so
that nobody takes all of it. Must not read anything, or know what the bytes mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Bytes of bodies, unpacked, that all requests with a key together may hold, and all without one.
MAX_HELD, MAX_HELD_UNKNOWN = 64 * 1024 * 1024, 8 * 1024 * 1024
#: The share of a pot that one holder may have. Of an address it is less: a browser's key is public,
#: and whoever has it is not to shut out all others of that source.
MOST_SHARE = {"source": 0.5, "address": 0.25}
#: Groups of an IPv6 address that one customer of a provider has for himself.
_OWN_GROUPS = 4


class NoRoom(Exception):
    """There is no room for that much; the text says for whom not."""


def sender_of(remote: str | None) -> str:
    """Who is behind an address: of IPv6 its first 64 bits; "" behind a UNIX socket."""
    if remote is None or ":" not in remote:
        return remote or ""
    groups = remote.partition("%")[0].split(":")
    return ":".join(groups[:_OWN_GROUPS])


@dataclass(slots=True)
class _Pot:
    limit: int
    name: str
    size: int = 0
    by_holder: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, size: int, holders: tuple[tuple[str, str], ...]) -> None:
        if self.size + size > self.limit:
            raise NoRoom(f"too many requests {self.name} are being read")
        for kind, who in holders:
            if self.by_holder.get((kind, who), 0) + size > self.limit * MOST_SHARE[kind]:
                raise NoRoom(f"too many requests of one {kind} are being read")
        self.size += size
        for holder in holders:
            self.by_holder[holder] = self.by_holder.get(holder, 0) + size

    def give(self, size: int, holders: tuple[tuple[str, str], ...]) -> None:
        self.size -= size
        for holder in holders:
            left = self.by_holder[holder] - size
            if left:
                self.by_holder[holder] = left
            else:
                del self.by_holder[holder]


class BytesInFlight:
    """How many bytes of bodies are in memory."""

    def __init__(self, limit: int = MAX_HELD, unknown: int = MAX_HELD_UNKNOWN) -> None:
        self._known, self._unknown = _Pot(limit, "at once"), _Pot(unknown, "without a key")

    @property
    def size(self) -> int:
        """All of them."""
        return self._known.size + self._unknown.size

    def hold(self, source: str | None, address: str) -> Held:
        """Nothing yet, of a request from there; `source` is None while its key is not known."""
        return Held(self._known, self._unknown, source, address)


class Held:
    """The bytes of one request."""

    __slots__ = ("_address", "_holders", "_known", "_pot", "_source", "size")

    def __init__(self, known: _Pot, unknown: _Pot, source: str | None, address: str) -> None:
        self.size = 0
        self._known = known
        self._address = ("address", address)
        self._source = source
        self._pot = unknown if source is None else known
        self._holders = self._holders_of(source)

    def take(self, size: int) -> None:
        """So many more. Raises NoRoom."""
        if size:
            self._pot.take(size, self._holders)
            self.size += size

    def give(self) -> None:
        """All of them are free again."""
        if self.size:
            self._pot.give(self.size, self._holders)
            self.size = 0

    def known(self, source: str) -> None:
        """Its key was in the body: it is that source's from here on. Raises NoRoom."""
        if self._source is not None:
            return
        size = self.size
        self.give()
        self._source, self._pot = source, self._known
        self._holders = self._holders_of(source)
        self.take(size)

    def _holders_of(self, source: str | None) -> tuple[tuple[str, str], ...]:
        return (self._address,) if source is None else (self._address, ("source", source))
