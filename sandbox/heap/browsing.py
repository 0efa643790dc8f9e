"""Answers about single objects of a heap: what they refer to, who holds them, what they keep. Pure.

What takes time of the heap's size is made once, at the first question that needs it; each answer
is bounded, whatever the heap.
"""

from __future__ import annotations

import array
import bisect
import heapq
from collections.abc import Iterable

from sandbox.heap.analysis import Heap
from sandbox.heap.dominators import NONE, ROOT
from sandbox.heap.paths import kind_of
from sandbox.protocol import (
    MAX_HEAP_TEXT,
    MAX_STEPS,
    FindObjects,
    HeapAnswer,
    HeapAnswered,
    HeapEdge,
    HeapFound,
    HeapHolder,
    HeapObject,
    HeapPage,
    HeapPath,
    HeapQuestion,
    HeapStep,
    NoSuchObject,
    ShowObject,
    ShowPath,
)


class HeapBrowser:
    """Of one heap."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._snapshot = heap.snapshot
        self._holders: tuple[array.array[int], array.array[int]] | None = None

    def answer(self, question: HeapQuestion) -> HeapAnswer:
        """The answer to one question. Raises Malformed."""
        match question:
            case FindObjects():
                return HeapAnswered(found=self._find(question))
            case ShowPath():
                node = self._node(question.id)
                return NoSuchObject() if node is None else HeapAnswered(path=self._path(node))
            case ShowObject():
                node = self._node(question.id)
                return NoSuchObject() if node is None else self._page(node, question)

    def _node(self, number: int | None) -> int | None:
        if number is None:
            return ROOT
        try:
            return self._snapshot.ids.index(number)
        except ValueError:
            return None

    def _page(self, node: int, asked: ShowObject) -> HeapAnswered:
        snapshot, first = self._snapshot, self._snapshot.first_edge
        edges = range(first[node], first[node + 1])
        holders = self._holding(node)
        children = self._heap.children(node)
        path = self._path(node)
        shown = self._object(node)
        kept = self._heap.kept
        return HeapAnswered(
            object=HeapPage(
                id=shown.id,
                type=shown.type,
                name=shown.name,
                size_bytes=shown.size_bytes,
                kept_bytes=shown.kept_bytes,
                edges=[
                    HeapEdge(_cut(snapshot.edge_name(edge)), self._object(snapshot.targets[edge]))
                    for edge in heapq.nlargest(
                        asked.edges, edges, key=lambda edge: kept[snapshot.targets[edge]]
                    )
                ],
                edges_total=len(edges),
                holders=[
                    HeapHolder(_cut(snapshot.edge_name(edge)), self._object(self._owner(edge)))
                    for edge in heapq.nlargest(
                        asked.holders, holders, key=lambda edge: kept[self._owner(edge)]
                    )
                ],
                holders_total=len(holders),
                dominated=self._largest(children, asked.dominated),
                dominated_total=len(children),
                path=path.path,
                path_left_out=path.left_out,
            )
        )

    def _largest(self, nodes: Iterable[int], most: int) -> list[HeapObject]:
        return [
            self._object(node)
            for node in heapq.nlargest(most, nodes, key=self._heap.kept.__getitem__)
        ]

    def _object(self, node: int) -> HeapObject:
        snapshot = self._snapshot
        return HeapObject(
            snapshot.ids[node],
            _cut(kind_of(snapshot, node)),
            _cut(snapshot.name(node)),
            snapshot.sizes[node],
            self._heap.kept[node],
        )

    def _owner(self, edge: int) -> int:
        """The node that an edge is of: the last whose edges begin at it or before."""
        return bisect.bisect_right(self._snapshot.first_edge, edge) - 1

    def _holding(self, node: int) -> array.array[int]:
        """Edges that lead to a node."""
        start, edges = self._holders or self._index_holders()
        return edges[start[node] : start[node + 1]]

    def _index_holders(self) -> tuple[array.array[int], array.array[int]]:
        targets = self._snapshot.targets
        start = array.array("I", [0]) * (len(self._snapshot) + 1)
        for target in targets:
            start[target] += 1
        total = 0
        for node, count in enumerate(start):
            total += count
            start[node] = total
        edges = array.array("I", [0]) * len(targets)
        for edge in range(len(targets) - 1, -1, -1):
            place = start[targets[edge]] - 1
            start[targets[edge]] = place
            edges[place] = edge
        self._holders = (start, edges)
        return self._holders

    def _path(self, node: int) -> HeapPath:
        ways = self._heap.ways
        nodes = [node]
        while (parent := ways.parents[nodes[-1]]) != NONE:
            nodes.append(parent)
        nodes.reverse()
        left_out = max(0, len(nodes) - MAX_STEPS)
        if left_out:
            half = MAX_STEPS // 2
            nodes = nodes[:half] + nodes[-half:]
        return HeapPath([self._step(each) for each in nodes], left_out)

    def _step(self, node: int) -> HeapStep:
        snapshot = self._snapshot
        edge = self._heap.ways.parent_edges[node]
        label = "" if edge == NONE else snapshot.edge_name(edge)
        return HeapStep(
            _cut(label),
            snapshot.ids[node],
            _cut(kind_of(snapshot, node)),
            _cut(snapshot.name(node)),
        )

    def _find(self, asked: FindObjects) -> HeapFound:
        snapshot = self._snapshot
        sought = asked.sought
        if sought.startswith("@") and sought[1:].isascii() and sought[1:].isdecimal():
            node = self._node(int(sought[1:]))
            return HeapFound([] if node is None else [self._object(node)], 0)
        folded = sought.casefold()
        named = bytearray(len(snapshot.strings))
        for number, text in enumerate(snapshot.strings):
            named[number] = folded in text.casefold()
        names = snapshot.node_names
        matching = array.array("I", (node for node in range(len(snapshot)) if named[names[node]]))
        found = self._largest(matching, asked.limit)
        return HeapFound(found, len(matching) - len(found))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_HEAP_TEXT else f"{text[: MAX_HEAP_TEXT - 1]}…"
