"""What keeps what alive: immediate dominators and retained sizes. Pure, on arrays.

Lengauer and Tarjan, "A Fast Algorithm for Finding Dominators in a Flowgraph"
(TOPLAS 1979), the simple variant with path compression: E log N in the worst
case, which matters, since the graph is hostile input. A node without edges of
its own that only one node refers to is dominated by it; two thirds of a heap
are such, and stay out of the algorithm.
"""

from __future__ import annotations

import array
from dataclasses import dataclass

from sandbox.heap.file import Snapshot
from sandbox.heap.v8 import EdgeType

#: In place of a node: there is none.
NONE = 0xFFFF_FFFF
ROOT = 0


@dataclass(frozen=True, slots=True)
class Dominators:
    """For each node its immediate dominator, NONE for the root and what it does not reach.

    order: all nodes that are reached, each after its dominator.
    parents, parent_edges: for each node, the node and the edge by which a shortest way from the
        root leads to it; NONE for the root and what it does not reach.
    """

    idom: array.array[int]
    order: array.array[int]
    parents: array.array[int]
    parent_edges: array.array[int]

    def retained(self, sizes: array.array[int]) -> array.array[int]:
        """Of each node, the size of all that it dominates, its own included."""
        total = array.array("Q", sizes)
        idom = self.idom
        for node in reversed(self.order):
            dominator = idom[node]
            if dominator != NONE:
                total[dominator] += total[node]
        return total


def dominators(snapshot: Snapshot) -> Dominators:
    """The dominators of all nodes, from node 0; weak edges keep nothing alive."""
    parents, parent_edges, reached = _shortest_ways(snapshot)
    # `array` cannot be made of one repeated item but by multiplication.
    idom = array.array("I", [NONE]) * len(snapshot)
    inner = _alone(snapshot, parents, idom, reached)
    order = _lengauer_tarjan(snapshot, inner, idom)
    order.extend(node for node in reached if not inner[node])
    return Dominators(idom, order, parents, parent_edges)


def _shortest_ways(
    snapshot: Snapshot,
) -> tuple[array.array[int], array.array[int], array.array[int]]:
    """Breadth first from the root: parents, the edges from them, and all that is reached."""
    first, targets, kinds = snapshot.first_edge, snapshot.targets, snapshot.edge_types
    parents = array.array("I", [NONE]) * len(snapshot)
    parent_edges = array.array("I", [NONE]) * len(snapshot)
    weak = int(EdgeType.WEAK)
    reached = array.array("I", [ROOT])
    for node in reached:  # grows meanwhile
        for edge in range(first[node], first[node + 1]):
            target = targets[edge]
            if parents[target] == NONE and target != ROOT and kinds[edge] != weak:
                parents[target] = node
                parent_edges[target] = edge
                reached.append(target)
    return parents, parent_edges, reached


def _alone(
    snapshot: Snapshot,
    parents: array.array[int],
    idom: array.array[int],
    reached: array.array[int],
) -> bytearray:
    """Settle nodes that have no edges and one referrer; 1 for every node that remains."""
    first, targets, kinds = snapshot.first_edge, snapshot.targets, snapshot.edge_types
    weak = int(EdgeType.WEAK)
    referrers = bytearray(len(snapshot))  # none, one, or 2 for more
    for node in reached:
        for edge in range(first[node], first[node + 1]):
            target = targets[edge]
            if referrers[target] < 2 and kinds[edge] != weak:
                referrers[target] += 1
    inner = bytearray(len(snapshot))
    for node in reached:
        if referrers[node] == 1 and first[node] == first[node + 1] and node != ROOT:
            idom[node] = parents[node]
        else:
            inner[node] = 1
    return inner


def _lengauer_tarjan(
    snapshot: Snapshot, inner: bytearray, idom: array.array[int]
) -> array.array[int]:
    """Write the dominators of all inner nodes to `idom`; returns them in depth-first order.

    From here on nodes go by their depth-first number.
    """
    vertex, parent = _depth_first(snapshot, inner)
    count = len(vertex)
    number = array.array("I", [NONE]) * len(snapshot)
    for place, node in enumerate(vertex):
        number[node] = place
    start, referrers = _referrers(snapshot, vertex, number)

    semi = array.array("I", range(count))
    label = array.array("I", range(count))
    ancestor = array.array("I", [NONE]) * count
    found = array.array("I", [ROOT]) * count
    bucket = array.array("I", [NONE]) * count  # the first of those whose semidominator it is
    following = array.array("I", [NONE]) * count
    chain: list[int] = []

    for node in range(count - 1, 0, -1):
        least = semi[node]
        for place in range(start[node], start[node + 1]):
            other = referrers[place]
            if ancestor[other] != NONE:
                other = _evaluate(other, ancestor, label, semi, chain)
            if semi[other] < least:
                least = semi[other]
        semi[node] = least
        following[node] = bucket[least]
        bucket[least] = node
        above = parent[node]
        ancestor[node] = above
        each = bucket[above]
        while each != NONE:
            other = _evaluate(each, ancestor, label, semi, chain)
            found[each] = other if semi[other] < semi[each] else above
            each = following[each]
        bucket[above] = NONE
    for node in range(1, count):
        if found[node] != semi[node]:
            found[node] = found[found[node]]
        idom[vertex[node]] = vertex[found[node]]
    return vertex


def _evaluate(
    node: int,
    ancestor: array.array[int],
    label: array.array[int],
    semi: array.array[int],
    chain: list[int],
) -> int:
    """The node with the least semidominator on the way up from `node`; shortens that way."""
    above = ancestor[node]
    if ancestor[above] == NONE:
        return label[node]
    while ancestor[above] != NONE:
        chain.append(node)
        node, above = above, ancestor[above]
    while chain:
        below = chain.pop()
        upper = ancestor[below]
        if semi[label[upper]] < semi[label[below]]:
            label[below] = label[upper]
        ancestor[below] = ancestor[upper]
        node = below
    return label[node]


def _depth_first(snapshot: Snapshot, inner: bytearray) -> tuple[array.array[int], array.array[int]]:
    """Inner nodes in depth-first order, and the depth-first number of each one's parent."""
    first, targets, kinds = snapshot.first_edge, snapshot.targets, snapshot.edge_types
    weak = int(EdgeType.WEAK)
    vertex = array.array("I", [ROOT])
    parent = array.array("I", [NONE])
    seen = bytearray(inner)
    seen[ROOT] = 0
    # Of each node on the way: its number, the next edge to look at, and the end of its edges.
    numbers, edges, ends = [0], [first[ROOT]], [first[ROOT + 1]]
    while numbers:
        edge, end = edges[-1], ends[-1]
        while edge < end:
            target = targets[edge]
            if seen[target] and kinds[edge] != weak:
                break
            edge += 1
        else:
            numbers.pop()
            edges.pop()
            ends.pop()
            continue
        edges[-1] = edge + 1
        seen[target] = 0
        parent.append(numbers[-1])
        numbers.append(len(vertex))
        vertex.append(target)
        edges.append(first[target])
        ends.append(first[target + 1])
    return vertex, parent


def _referrers(
    snapshot: Snapshot, vertex: array.array[int], number: array.array[int]
) -> tuple[array.array[int], array.array[int]]:
    """By depth-first number: where each node's referrers begin, and all of them."""
    first, targets, kinds = snapshot.first_edge, snapshot.targets, snapshot.edge_types
    weak = int(EdgeType.WEAK)
    start = array.array("I", [0]) * (len(vertex) + 1)
    for node in vertex:
        for edge in range(first[node], first[node + 1]):
            place = number[targets[edge]]
            if place != NONE and kinds[edge] != weak:
                start[place] += 1
    total = 0
    for place, count in enumerate(start):
        total += count
        start[place] = total
    referrers = array.array("I", [0]) * total
    for referrer, node in enumerate(vertex):
        for edge in range(first[node], first[node + 1]):
            place = number[targets[edge]]
            if place != NONE and kinds[edge] != weak:
                start[place] -= 1
                referrers[start[place]] = referrer
    return start, referrers
