"""Reads a heap snapshot the plainest way there is, to judge by it what our own code wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

EDGE_TYPES = ("context", "element", "property", "internal", "hidden", "shortcut", "weak")


class Edge(NamedTuple):
    """One edge: its type, its name or index, and the number of the node that it leads to."""

    type: str
    name: str | int
    to: int


class Plain:
    """A whole file in memory."""

    def __init__(self, path: Path) -> None:
        raw = json.loads(path.read_bytes())
        self.head = raw["snapshot"]
        self.strings: list[str] = raw["strings"]
        nodes, edges = raw["nodes"], raw["edges"]
        rows = [nodes[start : start + 7] for start in range(0, len(nodes), 7)]
        self.types = [self.head["meta"]["node_types"][0][row[0]] for row in rows]
        self.names = [self.strings[row[1]] for row in rows]
        self.ids = [row[2] for row in rows]
        self.sizes = [row[3] for row in rows]
        self.edges: list[list[Edge]] = []
        place = 0
        for row in rows:
            own = []
            for start in range(place, place + 3 * row[4], 3):
                kind = EDGE_TYPES[edges[start]]
                name = edges[start + 1]
                text = name if kind == "element" else self.strings[name]
                assert edges[start + 2] % 7 == 0
                own.append(Edge(kind, text, edges[start + 2] // 7))
            self.edges.append(own)
            place += 3 * row[4]
        assert place == len(edges)

    def follow(self, *names: str | int, start: int = 1) -> int:
        """The node at the end of a path of edge names. Raises AssertionError where it breaks."""
        node = start
        for name in names:
            found = [edge.to for edge in self.edges[node] if edge.name == name]
            known = [edge.name for edge in self.edges[node]][:50]
            assert found, f"no edge {name!r} from {self.names[node]!r}: {known}"
            node = found[0]
        return node

    def child(self, node: int, name: str) -> Edge:
        """The first edge of a node whose name begins so."""
        return next(edge for edge in self.edges[node] if str(edge.name).startswith(name))
