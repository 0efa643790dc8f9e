"""Which connections an event goes to, and as what: pending, unsupported or filtered.

Owns the meaning of the `integrations` object and of declared event types.
Pure: built from the config and from what destinations declared, and replaced
as a whole when either changes.

https://segment.com/docs/connections/spec/common/#integrations: `All` (true by
default) speaks for every destination; a name with `false` excludes one, with
`true` or an object of options includes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sandbox.protocol import Declaration
from supervisor.config import Connection
from supervisor.queue import Route

#: The event types of the Segment spec.
EVENT_TYPES = ("identify", "track", "page", "screen", "group", "alias")

_ALL = "all"
_SEPARATORS = str.maketrans("", "", " -_")
#: Longest spelling that is looked at, in characters; names are 64 at most.
_LONGEST_SPELLING = 256
#: Most entries of each cache. Senders choose the spellings and the combinations, so a full cache
#: is emptied: hostile ones cost time (a few microseconds an event), never memory.
_MAX_CACHED = 4096


class Router:
    """Routes events of the sources that `connections` name.

    A destination without a declaration could not be asked yet: what goes to it
    is pending. Equal routes are one object, see `supervisor.queue.Route`.
    """

    def __init__(
        self,
        connections: Mapping[str, Connection],
        declarations: Mapping[str, Declaration],
        sources: Iterable[str] = (),
    ) -> None:
        by_source: dict[str, list[_Candidate]] = {source: [] for source in sources}
        for connection in connections.values():
            by_source.setdefault(connection.source, []).append(
                _Candidate(connection, declarations.get(connection.destination))
            )
        self._candidates = {source: tuple(found) for source, found in by_source.items()}
        self._known = frozenset(
            name for found in by_source.values() for candidate in found for name in candidate.names
        ) | {_ALL}
        self._interned: dict[Route, Route] = {}
        self._names: dict[str, str] = {}
        self._filtered: dict[tuple[str, str, frozenset[tuple[str, bool]]], Route] = {}
        self._plain = {
            (source, event_type): self._route(source, event_type, {})
            for source in self._candidates
            for event_type in EVENT_TYPES
        }

    def route(self, source: str, event_type: str, integrations: object) -> Route:
        """Where an event goes. `integrations` is what the event holds, of whatever type.

        Raises KeyError for a source that the config does not have, and for what
        is no event type.
        """
        plain = self._plain[source, event_type]
        if not integrations or not isinstance(integrations, dict):
            return plain
        wishes = self._wishes(integrations)
        if not wishes:
            return plain
        key = (source, event_type, frozenset(wishes.items()))
        route = self._filtered.get(key)
        if route is None:
            route = self._route(source, event_type, wishes)
            if len(self._filtered) >= _MAX_CACHED:
                self._filtered.clear()
            self._filtered[key] = route
        return route

    def _wishes(self, integrations: dict[object, object]) -> dict[str, bool]:
        """Of the names that mean something here, which are wanted and which are not.

        A name that is there in two spellings is unwanted if one of them says so.
        """
        wishes: dict[str, bool] = {}
        for spelling, value in integrations.items():
            if value is False:
                is_wanted = False
            elif value is True or isinstance(value, dict):
                is_wanted = True
            else:
                continue  # null, numbers, text: senders' mistakes say nothing
            name = self._names.get(spelling) if isinstance(spelling, str) else ""
            if name is None:
                name = self._read_name(str(spelling))
            if name:
                wishes[name] = is_wanted and wishes.get(name, True)
        return wishes

    def _read_name(self, spelling: str) -> str:
        """The plain form of a name that means something here, else nothing; cached."""
        if len(spelling) > _LONGEST_SPELLING:
            return ""
        name = _plain_name(spelling)
        if name not in self._known:
            name = ""
        if len(self._names) >= _MAX_CACHED:
            self._names.clear()
        self._names[spelling] = name
        return name

    def _route(self, source: str, event_type: str, wishes: Mapping[str, bool]) -> Route:
        pending: list[str] = []
        unsupported: list[str] = []
        filtered: list[str] = []
        for candidate in self._candidates[source]:
            if not candidate.is_wanted(wishes):
                filtered.append(candidate.connection)
            elif candidate.types is not None and event_type not in candidate.types:
                unsupported.append(candidate.connection)
            else:
                pending.append(candidate.connection)
        route = Route(
            pending=tuple(pending), unsupported=tuple(unsupported), filtered=tuple(filtered)
        )
        if len(self._interned) >= _MAX_CACHED:
            self._interned.clear()
        return self._interned.setdefault(route, route)


class _Candidate:
    """A connection as the router sees it. `types` is None while nobody knows them."""

    __slots__ = ("_connection_name", "_destination_names", "_is_enabled", "connection", "types")

    def __init__(self, connection: Connection, declaration: Declaration | None) -> None:
        self.connection = connection.name
        self.types = declaration.types if declaration else None
        self._is_enabled = connection.enabled
        self._connection_name = _plain_name(connection.name)
        aliases = declaration.aliases if declaration else ()
        self._destination_names = {_plain_name(n) for n in (connection.destination, *aliases)}

    @property
    def names(self) -> set[str]:
        """What `integrations` may call it, in plain form."""
        return {self._connection_name, *self._destination_names}

    def is_wanted(self, wishes: Mapping[str, bool]) -> bool:
        """Whether it may have the event: its own name decides, then its destination's, then `All`.

        Of several names of the destination, one that says no is enough.
        """
        if not self._is_enabled:
            return False
        own = wishes.get(self._connection_name)
        if own is not None and self._connection_name != _ALL:
            return own
        # By what is wished, of which there is little; a destination may declare many names.
        said = [
            wish
            for name, wish in wishes.items()
            if name in self._destination_names and name != _ALL
        ]
        return all(said) if said else wishes.get(_ALL, True)


def _plain_name(name: str) -> str:
    """Names are the same whatever their case, blanks, hyphens and underscores."""
    return name.translate(_SEPARATORS).casefold()
