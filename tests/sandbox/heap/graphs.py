"""Small heaps by hand."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence

from sandbox.heap.file import About, Snapshot
from sandbox.heap.v8 import EdgeType, NodeType

#: An edge: its name, or its index, and the name of the node that it leads to.
Edges = Mapping[str, Sequence[tuple[str | int, str]]]


def heap(
    edges: Edges,
    sizes: Mapping[str, int] | None = None,
    names: Mapping[str, str] | None = None,
    ids: Mapping[str, int] | None = None,
) -> Snapshot:
    """A snapshot of these nodes, the first of which is the root; names that begin with `weak `
    make weak edges. Sizes are 1, and a node's name is its key, unless given.
    """
    nodes = list(edges)
    place = {name: number for number, name in enumerate(nodes)}
    strings: dict[str, int] = {}
    first, types, labels, targets = [0], [], [], []
    for node in nodes:
        for label, target in edges[node]:
            if isinstance(label, int):
                types.append(EdgeType.ELEMENT)
                labels.append(label)
            else:
                is_weak = label.startswith("weak ")
                types.append(EdgeType.WEAK if is_weak else EdgeType.PROPERTY)
                labels.append(strings.setdefault(label, len(strings)))
            targets.append(place[target])
        first.append(len(targets))
    node_names = [strings.setdefault((names or {}).get(n, n), len(strings)) for n in nodes]
    return Snapshot(
        about=About(),
        node_types=array.array("I", [NodeType.OBJECT] * len(nodes)),
        node_names=array.array("I", node_names),
        ids=array.array("I", [(ids or {}).get(n, 2 * place[n] + 1) for n in nodes]),
        sizes=array.array("I", [(sizes or {}).get(n, 1) for n in nodes]),
        first_edge=array.array("I", first),
        edge_types=array.array("I", types),
        edge_names=array.array("I", labels),
        targets=array.array("I", targets),
        strings=list(strings),
    )
