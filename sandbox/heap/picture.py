"""The dominator tree as a picture is made of it: its large parts, and how they are called. Pure."""

from __future__ import annotations

import array
import itertools

import msgspec

from sandbox.heap.analysis import Heap
from sandbox.heap.dominators import NONE
from sandbox.heap.paths import SUBSCRIPT, kind_of, path_to

#: Smallest part that is shown, as a share of the heap; how many parts, and how deep.
_LEAST_SHARE = 0.0005
_MAX_CELLS = 4_000
_MAX_DEPTH = 40


class Cell(msgspec.Struct, array_like=True):
    """One object and what it alone keeps alive.

    label: how its dominator calls it (`.CACHE`, `['x']`, `[3]`), or the path to it where another
    object does. cells: the large ones of what it dominates; what is missing is small. id: the
    object's in the snapshot, None of the whole.
    """

    label: str
    kind: str
    bytes: int
    objects: int
    cells: list[Cell]
    id: int | None = None


def picture(heap: Heap) -> Cell:
    """The heap as cells within cells."""
    # In a heap of what is new, all else has no weight, and is not counted.
    counts = heap.ways.retained(array.array("I", [weight > 0 for weight in heap.weights]))
    root = Cell("heap", "", heap.total, counts[0], [])
    least = max(1, int(heap.total * _LEAST_SHARE))
    # Breadth first and the largest first, so that the number of cells cuts off the small ones.
    waiting = [(root, node, 1) for node in heap.tops if heap.kept[node] >= least]
    for into, node, depth in itertools.islice(waiting, _MAX_CELLS):  # grows meanwhile
        cell = Cell(
            _label(heap, node),
            kind_of(heap.snapshot, node),
            heap.kept[node],
            counts[node],
            [],
            heap.snapshot.ids[node],
        )
        into.cells.append(cell)
        if depth < _MAX_DEPTH:
            large = [child for child in heap.children(node) if heap.kept[child] >= least]
            large.sort(key=heap.kept.__getitem__, reverse=True)
            waiting += [(cell, child, depth + 1) for child in large]
    return root


def _label(heap: Heap, node: int) -> str:
    ways, snapshot = heap.ways, heap.snapshot
    parent, edge = ways.parents[node], ways.parent_edges[node]
    if parent != ways.idom[node] or parent in heap.groups:
        return path_to(snapshot, ways, node)
    name = snapshot.edge_name(edge)
    above = ways.parent_edges[parent]
    if above != NONE and snapshot.edge_name(above) == "__dict__":
        # As an attribute of whose namespace it is; the namespace itself has no name in a path.
        attribute = SUBSCRIPT.fullmatch(name)
        return name if attribute is None else f".{attribute[1]}"
    return name if name.startswith("[") else f".{name}"
