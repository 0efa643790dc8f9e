"""The inferred schema: which paths the events of a name have, of what types, how often.

Pure: a sample of events comes in, with the time. Owns the bounds of what is kept of it. No value is
kept: an example is a shape, and how many values there are is counted by hashes of this process
alone. It is made anew at each start.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from supervisor.insight.json_text import Members, Number
from supervisor.insight.masking import shape, shape_of_key

#: Names of events of a source, and paths of a name; what is beyond is only counted.
MAX_NAMES, MAX_PATHS = 500, 300
#: Paths of all names and sources together, a kilobyte each; each source has its share of them.
MAX_PATHS_IN_ALL = 8_000
#: Seconds that a name was not seen for until a new one may have its place.
STALE_S = 24 * 3600.0
#: Values of a path that are told apart, and examples of it.
MAX_DISTINCT, MAX_EXAMPLES = 50, 3
#: Of one event: levels, values and elements of an array that are looked at, and characters of a
#: name.
MAX_LEVELS, MAX_VALUES, MAX_ELEMENTS, NAME_CHARS = 8, 400, 20, 200

_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}


class PathShape(msgspec.Struct, frozen=True):
    """One path: in which share of the events it is, and the shares of its types.

    `distinct` is at most MAX_DISTINCT; times are epoch seconds.
    """

    path: str
    present: float
    types: dict[str, float]
    distinct: int
    examples: list[str]
    first_seen: float
    last_seen: float


class NameShape(msgspec.Struct, frozen=True):
    """One event type and name; `more_paths` is how often a path was met that is not kept."""

    type: str
    name: str | None
    seen: int
    first_seen: float
    last_seen: float
    paths: list[PathShape]
    more_paths: int


@dataclass(frozen=True, slots=True)
class SourceShape:
    """What was inferred of a source; `more_names` counts events whose name is not kept.

    `names` are made as they are asked for: all of them at once would take their time.
    """

    source: str
    looked_at: int
    names: Iterator[NameShape]
    more_names: int


class Shapes:
    """Of all sources."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def look(self, source: str, kind: str, body: bytes, now: float) -> None:
        """Look at one event of a sample; `now` is epoch seconds. What is no object is no event."""
        try:
            event = msgspec.json.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        name = event.get("event" if kind == "track" else "name")
        kept = self._sources.get(source)
        if kept is None:
            kept = self._sources[source] = _Source()
        named = kind, name[:NAME_CHARS] if isinstance(name, str) else None
        kept.look(named, event, now, self._share())

    def forget(self, sources: set[str]) -> None:
        """Keep these sources alone: the others have left the config."""
        for gone in self._sources.keys() - sources:
            del self._sources[gone]

    def of(self, source: str) -> SourceShape:
        """What is known of a source, the most frequent names and paths first."""
        kept = self._sources.get(source)
        return _Source().told(source) if kept is None else kept.told(source)

    def _share(self) -> int:
        return MAX_PATHS_IN_ALL // len(self._sources)


class _Source:
    def __init__(self) -> None:
        self._names: dict[tuple[str, str | None], _Name] = {}
        self._paths = 0
        self._looked_at = 0
        self._more_names = 0

    def look(
        self,
        named: tuple[str, str | None],
        event: dict[str, Any],  # Any: decoded JSON
        now: float,
        most_paths: int,
    ) -> None:
        self._looked_at += 1
        kept = self._names.get(named)
        if kept is None:
            if len(self._names) >= MAX_NAMES and not self._make_room(now):
                self._more_names += 1
                return
            kept = self._names[named] = _Name(now)
        before = len(kept.paths)
        kept.look(event, now, min(MAX_PATHS, before + max(0, most_paths - self._paths)))
        self._paths += len(kept.paths) - before

    def told(self, source: str) -> SourceShape:
        names = sorted(self._names.items(), key=lambda item: -item[1].seen)
        return SourceShape(
            source,
            self._looked_at,
            (kept.told(*named) for named, kept in names),
            self._more_names,
        )

    def _make_room(self, now: float) -> bool:
        oldest = min(self._names, key=lambda named: self._names[named].last_seen)
        if now - self._names[oldest].last_seen < STALE_S:
            return False
        self._paths -= len(self._names.pop(oldest).paths)
        return True


class _Name:
    def __init__(self, now: float) -> None:
        self.paths: dict[str, _Path] = {}
        self.seen = 0
        self.first_seen = self.last_seen = now
        self._more_paths = 0
        self._left = 0

    def look(self, event: dict[str, Any], now: float, most_paths: int) -> None:  # Any: JSON
        self.seen += 1
        self.last_seen = now
        self._left = MAX_VALUES
        self._walk(event, "", MAX_LEVELS, most_paths)

    def told(self, kind: str, name: str | None) -> NameShape:
        paths = sorted(self.paths.items(), key=lambda item: (-item[1].present, item[0]))
        return NameShape(
            kind,
            name,
            self.seen,
            self.first_seen,
            self.last_seen,
            [kept.told(path, self.seen) for path, kept in paths],
            self._more_paths,
        )

    def _walk(self, value: Any, path: str, levels: int, most_paths: int) -> None:  # Any: JSON
        if levels and value and isinstance(value, dict):
            for key, item in value.items():
                if self._left <= 0:
                    return
                step = shape_of_key(key)
                self._walk(item, f"{path}.{step}" if path else step, levels - 1, most_paths)
        elif levels and value and isinstance(value, list):
            for item in value[:MAX_ELEMENTS]:
                self._walk(item, f"{path}[]", levels - 1, most_paths)
        else:
            self._left -= 1
            kept = self.paths.get(path)
            if kept is None:
                if len(self.paths) >= most_paths:
                    self._more_paths += 1
                    return
                kept = self.paths[path] = _Path(self.last_seen)
            kept.look(value, self.seen, self.last_seen)


class _Path:
    __slots__ = ("_distinct", "_examples", "_in", "_types", "first_seen", "last_seen", "present")

    def __init__(self, now: float) -> None:
        self.present = 0
        self.first_seen = self.last_seen = now
        self._in = 0
        self._types: Counter[str] = Counter()
        self._distinct = array("q")
        self._examples: list[str] = []

    def look(self, value: Any, event: int, now: float) -> None:  # Any: decoded JSON
        """`event` counts the events: one with several elements has the path once."""
        if event != self._in:
            self._in = event
            self.present += 1
        self.last_seen = now
        self._types[_TYPES[type(value)]] += 1
        if len(self._distinct) < MAX_DISTINCT:
            told = hash(value) if value.__hash__ else 0
            if told not in self._distinct:
                self._distinct.append(told)
                self._exemplify(value)

    def told(self, path: str, events: int) -> PathShape:
        values = sum(self._types.values())
        return PathShape(
            path,
            self.present / events,
            {kind: n / values for kind, n in self._types.most_common()},
            len(self._distinct),
            list(self._examples),
            self.first_seen,
            self.last_seen,
        )

    def _exemplify(self, value: Any) -> None:  # Any: decoded JSON
        if len(self._examples) == MAX_EXAMPLES:
            return
        match value:
            case bool() | str() | None:
                example = shape(value)
            case int() | float():
                example = shape(Number(value))
            case dict():
                example = shape(Members())
            case _:
                example = shape([])
        if example not in self._examples:
            self._examples.append(example)
