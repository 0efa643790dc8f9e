"""Dominators and retained sizes, against the definition."""

from __future__ import annotations

import array

from hypothesis import given
from hypothesis import strategies as st

from sandbox.heap.dominators import NONE, dominators
from sandbox.heap.file import Snapshot
from sandbox.heap.v8 import EdgeType
from tests.sandbox.heap.graphs import heap


@st.composite
def graphs(draw: st.DrawFn) -> Snapshot:
    """Any graph of up to 24 nodes, with cycles, loops, weak edges and nodes out of reach."""
    count = draw(st.integers(1, 24))
    node = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(node, node, st.booleans()), max_size=60))
    edges: dict[str, list[tuple[str | int, str]]] = {str(n): [] for n in range(count)}
    for source, target, is_weak in pairs:
        edges[str(source)].append(("weak edge" if is_weak else "edge", str(target)))
    return heap(edges, {str(n): draw(st.integers(0, 100)) for n in range(count)})


def reachable(snapshot: Snapshot, without: int | None = None) -> set[int]:
    """What the root reaches when one node is taken away."""
    if without == 0:
        return set()
    found, waiting = {0}, [0]
    while waiting:
        node = waiting.pop()
        for edge in range(snapshot.first_edge[node], snapshot.first_edge[node + 1]):
            target = snapshot.targets[edge]
            is_strong = snapshot.edge_types[edge] != EdgeType.WEAK
            if is_strong and target not in found and target != without:
                found.add(target)
                waiting.append(target)
    return found


@given(graphs())
def test_what_a_node_dominates_is_what_its_loss_cuts_off(snapshot: Snapshot) -> None:
    """A node's retained size is that of all that only it leads to, itself included."""
    found = dominators(snapshot)
    retained = found.retained(snapshot.sizes)
    everything = reachable(snapshot)
    for node in everything:
        lost = everything - reachable(snapshot, without=node)
        assert retained[node] == sum(snapshot.sizes[each] for each in lost)


@given(graphs())
def test_the_immediate_dominator_is_the_nearest(snapshot: Snapshot) -> None:
    """Of all nodes that every way to a node leads through, the immediate one is the last."""
    found = dominators(snapshot)
    everything = reachable(snapshot)
    dominated = {node: everything - reachable(snapshot, without=node) for node in everything}
    for node in range(len(snapshot)):
        if node == 0 or node not in everything:
            assert found.idom[node] == NONE
            continue
        strict = {other for other in everything if node in dominated[other] and other != node}
        assert found.idom[node] in strict
        assert all(found.idom[node] in dominated[other] for other in strict)


@given(graphs())
def test_ways_are_shortest(snapshot: Snapshot) -> None:
    """Parents lead to the root by strong edges, in as few steps as there can be."""
    found = dominators(snapshot)
    distance = {0: 0}
    for node in found.order:
        steps, each = 0, node
        while each != 0:
            edge = found.parent_edges[each]
            assert snapshot.targets[edge] == each
            assert snapshot.edge_types[edge] != EdgeType.WEAK
            each = found.parents[each]
            steps += 1
        distance[node] = steps
    assert distance.keys() == reachable(snapshot)
    for node, steps in distance.items():
        for edge in range(snapshot.first_edge[node], snapshot.first_edge[node + 1]):
            if snapshot.edge_types[edge] != EdgeType.WEAK:
                assert distance[snapshot.targets[edge]] <= steps + 1


def test_a_long_chain_with_a_shared_end_is_no_trouble() -> None:
    """A linked list of a hundred thousand objects that all share one costs no quadratic time."""
    length = 100_000
    edges: dict[str, list[tuple[str | int, str]]] = {
        str(n): [("next", str(n + 1)), ("back", str(max(0, n - 1))), ("shared", "shared")]
        for n in range(length)
    }
    edges[str(length)] = []
    edges["shared"] = [("to", "end")]
    edges["end"] = []
    snapshot = heap(edges)
    found = dominators(snapshot)
    assert found.idom[length] == length - 1
    assert found.idom[length + 1] == 0
    assert found.retained(array.array("I", [1]) * len(snapshot))[1] == length
