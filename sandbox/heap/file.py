"""Reads a heap snapshot, which is hostile input: everything is counted, bounded and checked.

Takes exactly what `heapsnapshot.py` writes, and not all that V8 could write.
"""

from __future__ import annotations

import array
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import msgspec

from sandbox.heap import v8

#: What a file may hold at most: 20 million objects fill 2 GiB of a worker's memory.
MAX_NODES = 20_000_000
MAX_EDGES = 80_000_000
MAX_STRINGS_BYTES = 512 << 20
_MAX_HEAD_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
#: The longest run without a comma that is still a number and its blanks.
_MAX_TOKEN_BYTES = 32
_NODE_FIELDS = len(v8.NODE_FIELDS)
_EDGE_FIELDS = len(v8.EDGE_FIELDS)


class Malformed(Exception):
    """The file is no snapshot of ours; the text says what is wrong with it."""


class About(msgspec.Struct, frozen=True):
    """What the file's head says of its origin. Hints: the worker itself has written them."""

    notes: list[str] = []
    strings: str = "truncated"


class _Head(msgspec.Struct, frozen=True):
    meta: dict[str, msgspec.Raw]
    node_count: int
    edge_count: int
    bulkhead: About = About()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A heap as arrays; nodes and edges are numbered from 0.

    first_edge has one number more than there are nodes: the edges of node n are those from
    first_edge[n] to first_edge[n + 1] - 1.
    """

    about: About
    node_types: array.array[int]
    node_names: array.array[int]
    ids: array.array[int]
    sizes: array.array[int]
    first_edge: array.array[int]
    edge_types: array.array[int]
    edge_names: array.array[int]
    targets: array.array[int]
    strings: list[str]

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, node: int) -> str:
        """The name of a node."""
        return self.strings[self.node_names[node]]

    def edge_name(self, edge: int) -> str:
        """The name of an edge, an index as `[3]`. Raises Malformed."""
        number = self.edge_names[edge]
        if self.edge_types[edge] == v8.EdgeType.ELEMENT:
            return f"[{number}]"
        if number >= len(self.strings):
            raise Malformed(f"edge {edge}: there is no string {number}")
        return self.strings[number]


def read(stream: IO[bytes]) -> Snapshot:
    """The snapshot in `stream`. Raises Malformed, MemoryError."""
    source = _Source(stream)
    head = _head(source)
    nodes = _numbers(source, head.node_count * _NODE_FIELDS, "nodes")
    source.skip(b'"edges":[', "edges")
    edges = _numbers(source, head.edge_count * _EDGE_FIELDS, "edges")
    source.skip(b'"strings":[', "strings")
    strings = _strings(source)
    return _checked(head, nodes, edges, strings)


class _Source:
    """Bytes of a stream with a look ahead."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.ahead = b""

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        data = self._stream.read(_CHUNK_BYTES)
        self.ahead += data
        return bool(data)

    def until(self, mark: bytes, limit: int, what: str) -> bytes:
        """All before `mark`, which is eaten too. Raises Malformed where it does not come."""
        searched = 0
        while (place := self.ahead.find(mark, max(0, searched - len(mark)))) < 0:
            searched = len(self.ahead)
            if searched > limit:
                raise Malformed(f"{what}: {mark.decode()} does not come within {limit} bytes")
            if not self.more():
                raise Malformed(f"{what}: the file ends before {mark.decode()}")
        found, self.ahead = self.ahead[:place], self.ahead[place + len(mark) :]
        return found

    def skip(self, mark: bytes, what: str) -> None:
        """Eat a comma, blanks and `mark`."""
        between = self.until(mark, 64, what)
        if between.strip() != b",":
            raise Malformed(f"{what}: unexpected {between[:20]!r} before it")


def _head(source: _Source) -> _Head:
    text = source.until(b'"nodes":[', _MAX_HEAD_BYTES, "head")
    match = re.fullmatch(rb'\{"snapshot":(\{.*\}),\s*', text, re.DOTALL)
    if match is None:
        raise Malformed("head: the file does not begin as a heap snapshot does")
    try:
        head = msgspec.json.decode(match[1], type=_Head)
        meta = {name: msgspec.json.decode(value) for name, value in head.meta.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"head: {error}") from error
    expected = json.loads(json.dumps(v8.META))
    for name in ("node_fields", "node_types", "edge_fields", "edge_types"):
        if meta.get(name) != expected[name]:
            raise Malformed(f"head: meta.{name} is not that of a snapshot of this version")
    if not 1 <= head.node_count <= MAX_NODES:
        raise Malformed(f"head: node_count must be between 1 and {MAX_NODES}")
    if not 0 <= head.edge_count <= MAX_EDGES:
        raise Malformed(f"head: edge_count must be between 0 and {MAX_EDGES}")
    return head


def _numbers(source: _Source, count: int, what: str) -> array.array[int]:
    """An array of `count` numbers of 32 bits, up to its bracket."""
    found = array.array("I")
    for part in _number_texts(source, what):
        try:
            found.extend(msgspec.json.decode(b"[" + part + b"]", type=list[int]))
        except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
            raise Malformed(f"{what}: not all are numbers of 32 bits") from None
        if len(found) > count:
            break
    if len(found) != count:
        raise Malformed(f"{what}: {len(found)} numbers or more where the head says {count}")
    return found


def _number_texts(source: _Source, what: str) -> Iterator[bytes]:
    while (end := source.ahead.find(b"]")) < 0:
        comma = source.ahead.rfind(b",")
        if comma >= 0:
            part, source.ahead = source.ahead[:comma], source.ahead[comma + 1 :]
            yield part
        if len(source.ahead) > _MAX_TOKEN_BYTES:
            raise Malformed(f"{what}: something that is no number")
        if not source.more():
            raise Malformed(f"{what}: the file ends in the middle of it")
    part, source.ahead = source.ahead[:end], source.ahead[end + 1 :]
    yield part


def _strings(source: _Source) -> list[str]:
    parts = [b"[", source.ahead]
    size = len(source.ahead)
    source.ahead = b""
    while source.more():
        parts.append(source.ahead)
        size += len(source.ahead)
        source.ahead = b""
        if size > MAX_STRINGS_BYTES:
            raise Malformed(f"strings: more than {MAX_STRINGS_BYTES} bytes")
    text = b"".join(parts).rstrip()
    if not text.endswith(b"]}"):
        raise Malformed("strings: the file ends in the middle of it")
    try:
        # Not msgspec, which refuses halves of surrogate pairs.
        strings = json.loads(text[:-1])
    except (ValueError, RecursionError) as error:
        raise Malformed(f"strings: {error}") from error
    if not isinstance(strings, list) or not all(isinstance(each, str) for each in strings):
        raise Malformed("strings: not all of it is text")
    # Halves of surrogate pairs are text to Python, but nothing that reads a report takes them.
    return [each if each.isascii() else _whole(each) for each in strings]


def _whole(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _checked(
    head: _Head, nodes: array.array[int], edges: array.array[int], strings: list[str]
) -> Snapshot:
    counts = nodes[4::_NODE_FIELDS]
    if sum(counts) != head.edge_count:
        raise Malformed("nodes: their edges do not add up to edge_count")
    first_edge = array.array("I", [0])
    total = 0
    for count in counts:
        total += count
        first_edge.append(total)
    places = edges[2::_EDGE_FIELDS]
    if places and max(places) >= len(nodes):
        raise Malformed("edges: one of them leads past the last node")
    if any(place % _NODE_FIELDS for place in places):
        raise Malformed("edges: one of them leads into the middle of a node")
    types, names = nodes[0::_NODE_FIELDS], nodes[1::_NODE_FIELDS]
    if max(types) >= len(v8.NODE_TYPES):
        raise Malformed("nodes: one of them has no known type")
    if max(names) >= len(strings):
        raise Malformed("nodes: one of them has a name that is not among the strings")
    edge_types = edges[0::_EDGE_FIELDS]
    if edge_types and max(edge_types) >= len(v8.EDGE_TYPES):
        raise Malformed("edges: one of them has no known type")
    return Snapshot(
        about=head.bulkhead,
        node_types=types,
        node_names=names,
        ids=nodes[2::_NODE_FIELDS],
        sizes=nodes[3::_NODE_FIELDS],
        first_edge=first_edge,
        edge_types=edge_types,
        edge_names=edges[1::_EDGE_FIELDS],
        targets=array.array("I", [place // _NODE_FIELDS for place in places]),
        strings=strings,
    )
