"""What fills a heap and what holds it: suspects as Eclipse MAT finds them. Pure.

A suspect is an object that dominates a large part of the heap, or a class whose
objects together do where no single one does. From there the way goes down to
the largest part until no part has most of it: that is the accumulation point,
the object that something is added to again and again.
See https://help.eclipse.org/latest/topic/org.eclipse.mat.ui.help/concepts/dominatortree.html
"""

from __future__ import annotations

import array
import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from sandbox.heap.dominators import NONE, Dominators, dominators
from sandbox.heap.file import About, Snapshot
from sandbox.heap.paths import (
    first_of_a_program,
    is_library,
    kind_of,
    module_of,
    module_of_edge,
    path_to,
)
from sandbox.heap.v8 import NodeType

#: Share of the heap from which on something is suspect.
SUSPECT_SHARE = 0.1
#: The way down goes on while the largest part has this much of the whole.
_DESCEND = 0.7
MAX_SUSPECTS = 10
MAX_ROWS = 50
#: Objects below a suspect that are looked at to tell their classes and module.
_MAX_CONTENT = 200_000
#: Nodes that stand for roots, not for objects: the root of all, "(GC roots)" and its groups.
_GROUPS = frozenset(("", "(GC roots)", "(threads)", "(interpreter)", "(tasks)", "(unreached)"))
_CONNECTION = re.compile(r"\._connections\['([^']{1,100})'\]")


class Row(msgspec.Struct, frozen=True):
    """Objects of one class, and their own size in bytes."""

    kind: str
    objects: int
    bytes: int


class Suspect(msgspec.Struct, frozen=True):
    """Something that holds much.

    what: the object, or the class of the objects, that dominate this part of the heap.
    objects: how many of them; 1 for a single object.
    bytes, share: what they keep alive, and its share of the heap, 0 to 1.
    path: from a root to the accumulation point, in the terms of Python.
    accumulation: the class of the object there, and `id` its number in the snapshot.
    holds: what is kept alive, by class, the largest first.
    module, connection: its owner, as far as can be told.
    """

    what: str
    objects: int
    bytes: int
    share: float
    path: str
    accumulation: str
    holds: list[Row]
    module: str | None
    connection: str | None
    id: int = 0


class Report(msgspec.Struct, frozen=True):
    """What fills a heap. by_class: objects with their own size, by class."""

    about: About
    objects: int
    bytes: int
    suspects: list[Suspect]
    by_class: list[Row]


class Heap:
    """A snapshot with all that is computed of it once.

    kept: of each node, the bytes that it alone keeps alive. largest: of each node, the one of
    those that it dominates that keeps most.
    """

    def __init__(self, snapshot: Snapshot, weights: array.array[int] | None = None) -> None:
        self.snapshot = snapshot
        self.weights = snapshot.sizes if weights is None else weights
        self.ways: Dominators = dominators(snapshot)
        self.kept = self.ways.retained(self.weights)
        self.groups = self._groups()
        self.tops = self._tops()
        self._children: tuple[array.array[int], array.array[int]] | None = None

    @property
    def total(self) -> int:
        """Bytes of all that is reached."""
        return self.kept[0]

    def children(self, node: int) -> array.array[int]:
        """All that a node dominates immediately."""
        start, children = self._children or self._link()
        return children[start[node] : start[node + 1]]

    def _link(self) -> tuple[array.array[int], array.array[int]]:
        idom = self.ways.idom
        start = array.array("I", [0]) * (len(idom) + 1)
        for dominator in idom:
            if dominator != NONE:
                start[dominator] += 1
        total = 0
        for node, count in enumerate(start):
            total += count
            start[node] = total
        children = array.array("I", [0]) * total
        for node in range(len(idom) - 1, -1, -1):
            dominator = idom[node]
            if dominator != NONE:
                start[dominator] -= 1
                children[start[dominator]] = node
        self._children = (start, children)
        return self._children

    def _groups(self) -> frozenset[int]:
        found = {0}
        first, targets = self.snapshot.first_edge, self.snapshot.targets
        for root in (0, 1):
            if root + 1 < len(first):
                found.update(
                    targets[edge]
                    for edge in range(first[root], first[root + 1])
                    if self.snapshot.name(targets[edge]) in _GROUPS
                )
        return frozenset(found)

    def _tops(self) -> list[int]:
        """What only the roots dominate, the largest first."""
        groups, idom = self.groups, self.ways.idom
        found = [node for node in self.ways.order if idom[node] in groups and node not in groups]
        return sorted(found, key=self.kept.__getitem__, reverse=True)


def report_of(heap: Heap) -> Report:
    """What fills the heap of a snapshot, and what holds it."""
    snapshot = heap.snapshot
    return Report(
        about=snapshot.about,
        objects=len(snapshot),
        bytes=heap.total,
        suspects=suspects(heap),
        by_class=rows(by_class(snapshot, heap.ways.order)),
    )


def suspects(heap: Heap) -> list[Suspect]:
    """What holds at least SUSPECT_SHARE of the heap, the largest first."""
    least = max(1, int(heap.total * SUSPECT_SHARE))
    found: list[Suspect] = []
    small: dict[tuple[bool, str], list[int]] = {}
    for node in heap.tops:
        if heap.kept[node] >= least:
            found.append(_single(heap, node))
        else:
            is_unreached = heap.snapshot.name(heap.ways.parents[node]) == "(unreached)"
            family = (is_unreached, _family(heap.snapshot, heap.ways, node))
            small.setdefault(family, []).append(node)
    for nodes in small.values():
        if sum(heap.kept[node] for node in nodes) >= least:
            found.append(_together(heap, nodes))
    return sorted(found, key=lambda each: each.bytes, reverse=True)[:MAX_SUSPECTS]


def _family(snapshot: Snapshot, ways: Dominators, node: int) -> str:
    """What is counted together: modules and functions are no objects that something makes many of.

    Their own name keeps them apart.
    """
    parent = ways.parents[node]
    if parent != NONE and snapshot.name(parent).startswith("module "):
        return snapshot.name(parent)
    kind = kind_of(snapshot, node)
    return snapshot.name(node) if kind in ("module", "function", "type", "code") else kind


def _single(heap: Heap, top: int) -> Suspect:
    point = accumulation(heap, top)
    return _suspect(heap, _what(heap, top), [top], point, heap.kept[top])


def _together(heap: Heap, nodes: list[int]) -> Suspect:
    """Many objects of one class: where the ways to most of them have their last common part."""
    snapshot, ways = heap.snapshot, heap.ways
    passing: Counter[int] = Counter()
    for node in nodes:
        weight = heap.kept[node]
        step = ways.parents[node]
        while step != NONE:
            passing[step] += weight
            step = ways.parents[step]
    total = sum(heap.kept[node] for node in nodes)
    # The deepest node that most of them hang from is the smallest that has still enough.
    point = nodes[0]
    enough = [node for node, weight in passing.items() if weight >= total * _DESCEND]
    candidates = [node for node in enough if node not in heap.groups and node != 1]
    if candidates:
        point = max(candidates, key=lambda node: _depth(ways, node))
    else:
        point = max(nodes, key=heap.kept.__getitem__)
    return _suspect(heap, kind_of(snapshot, nodes[0]), nodes, point, total)


def _depth(ways: Dominators, node: int) -> int:
    depth = 0
    while ways.parents[node] != NONE:
        node = ways.parents[node]
        depth += 1
    return depth


def _what(heap: Heap, node: int) -> str:
    """A node's class; of a module or its namespace, the module."""
    kind = _family(heap.snapshot, heap.ways, node)
    return kind if kind.startswith("module ") else kind_of(heap.snapshot, node)


def accumulation(heap: Heap, node: int) -> int:
    """Down from `node` to the object that has no largest part any more."""
    while True:
        children = heap.children(node)
        if not children:
            return node
        largest = max(children, key=heap.kept.__getitem__)
        if heap.kept[largest] < heap.kept[node] * _DESCEND:
            return node
        node = largest


def _suspect(heap: Heap, what: str, tops: list[int], point: int, total: int) -> Suspect:
    snapshot = heap.snapshot
    path = path_to(snapshot, heap.ways, point)
    content = _content(heap, [point] if len(tops) == 1 else tops)
    connection = _CONNECTION.search(path)
    return Suspect(
        what=what,
        objects=len(tops),
        bytes=total,
        share=total / heap.total if heap.total else 0.0,
        path=path,
        accumulation=kind_of(snapshot, point),
        holds=rows(by_class(snapshot, content, heap.weights))[:10],
        module=_owner(heap, point, content),
        connection=connection[1] if connection is not None else None,
        id=snapshot.ids[point],
    )


def _content(heap: Heap, tops: list[int]) -> list[int]:
    """What these dominate, themselves included; of very much, a part."""
    found = list(tops[:_MAX_CONTENT])
    for node in found:  # grows meanwhile
        if len(found) >= _MAX_CONTENT:
            break
        found.extend(heap.children(node))
    return found


def _owner(heap: Heap, point: int, content: list[int]) -> str | None:
    """The program's module that the way leads through, or whose objects are held.

    Where all that is held is plain data, the module whose functions and classes it refers to: a
    timer holds a callback.
    """
    snapshot, ways = heap.snapshot, heap.ways
    modules: list[str | None] = []
    node = point
    while node != NONE:
        modules.append(_module(snapshot, node))
        edge = ways.parent_edges[node]
        if edge != NONE and ways.parents[node] in heap.groups:
            modules.append(module_of_edge(snapshot.edge_name(edge)))
        node = ways.parents[node]
    on_the_way = first_of_a_program(modules)
    if on_the_way is not None:
        return on_the_way
    held: Counter[str] = Counter()
    for node in content:
        module = _module(snapshot, node)
        if module is not None and not is_library(module):
            held[module] += heap.weights[node] + 1
    if not held:
        first, targets = snapshot.first_edge, snapshot.targets
        for node in content:
            for edge in range(first[node], first[node + 1]):
                module = _module(snapshot, targets[edge])
                if module is not None and not is_library(module):
                    held[module] += 1
    if held:
        return held.most_common(1)[0][0]
    return next((module for module in reversed(modules) if module), None)


def _module(snapshot: Snapshot, node: int) -> str | None:
    # Texts are values: what looks like a module in one is none.
    if snapshot.node_types[node] == NodeType.STRING:
        return None
    return module_of(snapshot.name(node))


def by_class(
    snapshot: Snapshot, nodes: Iterable[int], weights: array.array[int] | None = None
) -> dict[str, list[int]]:
    """Number and bytes of nodes by class."""
    sizes = snapshot.sizes if weights is None else weights
    # Many nodes share a name and a type, and then a class.
    known: dict[tuple[int, int], list[int]] = {}
    types, names = snapshot.node_types, snapshot.node_names
    found: dict[str, list[int]] = {}
    for node in nodes:
        key = (types[node], names[node])
        row = known.get(key)
        if row is None:
            row = known[key] = found.setdefault(kind_of(snapshot, node), [0, 0])
        row[0] += 1
        row[1] += sizes[node]
    return found


def rows(counted: dict[str, list[int]]) -> list[Row]:
    """As a table, the largest first, without what is no object."""
    table = [
        Row(kind, objects, size) for kind, (objects, size) in counted.items() if kind not in _GROUPS
    ]
    return sorted(table, key=lambda row: row.bytes, reverse=True)[:MAX_ROWS]
