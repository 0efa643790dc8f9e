"""Reading a snapshot: ours whole, and whatever else there is refused with a reason."""

from __future__ import annotations

import array
import contextlib
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.heap import heapsnapshot, v8
from sandbox.heap.analysis import Heap, report_of
from sandbox.heap.file import Malformed, Snapshot, read
from sandbox.heap.limits import MIB
from sandbox.heap.page import report_page
from sandbox.heap.room import Room
from sandbox.heap.spool import Spool
from sandbox.heap.strings import Strings
from sandbox.heap.text import report_text
from sandbox.heap.walk import Graph, Group
from tests.sandbox.heap.tables import tables

#: Texts that break what is put together carelessly.
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["</script>", "<!--", "\u2028", "\x1b[31m", '"', "\\", "\ud800", "]", '"strings":[', "__dict__"]
)


def written(graph: Graph) -> bytes:
    """A graph as a file."""
    out = bytearray()
    heapsnapshot.write(graph, out.extend)
    return bytes(out)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph that a walk could find."""
    strings = Strings("full")
    nodes, edges = Spool(Room(tables(), MIB)), Spool(Room(tables(), MIB))
    count = draw(st.integers(0, 12))
    target = st.integers(0, count + 1)
    groups = [Group("", array.array("I", [1 << 29 | 1, 1])), Group("(GC roots)")]
    name = TEXTS.map(strings.number)
    for _ in range(count):
        own = draw(st.lists(st.tuples(st.integers(0, 6), name, target), max_size=4))
        for kind, label, to in own:
            edges.buffer.extend((kind << 29 | label, to))
        size = draw(st.integers(0, (1 << 32) - 1))
        number = draw(st.integers(0, (1 << 32) - 1))
        nodes.buffer.extend((draw(st.integers(0, 9)) << 28 | draw(name), number, size, len(own)))
    for _ in range(draw(st.integers(0, 3))):
        groups[1].edges.extend((2 << 29 | draw(name), draw(target)))
    return Graph(groups, nodes, edges, strings, [])


def small() -> dict[str, Any]:
    """A file as a value, to be broken."""
    graph = Graph(
        [Group("", array.array("I", [1 << 29 | 1, 1])), Group("(GC roots)")],
        Spool(Room(tables(), MIB)),
        Spool(Room(tables(), MIB)),
        Strings("truncated"),
        [],
    )
    value: dict[str, Any] = json.loads(written(graph))
    return value


def text_of(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@given(graphs())
def test_what_was_written_is_read(graph: Graph) -> None:
    """Nodes, edges, names and sizes survive, and every report can be made of them."""
    names = [group.name for group in graph.groups]
    nodes = list(graph.nodes.buffer)
    edges = list(graph.edges.buffer)
    texts = list(graph.strings.table)
    snapshot = read(io.BytesIO(written(graph)))
    names += [texts[code & 0xFFFFFFF] for code in nodes[0::4]]
    names = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    assert [snapshot.name(node) for node in range(len(snapshot))] == names
    assert list(snapshot.sizes)[2:] == nodes[2::4]
    assert list(snapshot.targets)[-len(edges) // 2 :] == edges[1::2] or not edges
    _reported(snapshot)


def _reported(snapshot: Snapshot) -> None:
    heap = Heap(snapshot)
    report = report_of(heap)
    shown = report_text(report, 100)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]", shown)
    drawn = report_page(heap, report, "</title><script>")
    assert drawn.count("<script>") == drawn.count("</script>") == 1
    assert drawn.count("<!--") == 0


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    """No bytes make it raise anything but Malformed."""
    with pytest.raises(Malformed):
        read(io.BytesIO(data))


@given(graphs(), st.data())
def test_a_damaged_file_is_refused_or_read(graph: Graph, data: st.DataObject) -> None:
    """Bytes changed, taken out or cut off end in Malformed, or in a heap that can be reported."""
    whole = written(graph)
    place = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(0, 40))
    damaged = whole[:place] + data.draw(st.binary(max_size=12)) + whole[place + length :]
    with contextlib.suppress(Malformed):
        report_of(Heap(read(io.BytesIO(damaged))))


@given(graphs(), st.data())
def test_numbers_of_any_size_are_refused_or_read(graph: Graph, data: st.DataObject) -> None:
    """A number put in the place of another ends in Malformed, or in a heap that can be reported."""
    value = json.loads(written(graph))
    part = data.draw(st.sampled_from(["nodes", "edges"]))
    if not value[part]:
        return
    place = data.draw(st.integers(0, len(value[part]) - 1))
    value[part][place] = data.draw(st.integers(-(1 << 40), 1 << 40))
    with contextlib.suppress(Malformed):
        report_of(Heap(read(io.BytesIO(text_of(value)))))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"snapshot": {"meta": {}, "node_count": 2, "edge_count": 1}}, "meta.node_fields is not"),
        ({"nodes": [9, 0, 1, 0, 1, 0, 0]}, "nodes: 7 numbers or more where the head says 14"),
        ({"nodes": [9, 0, 1, 0, 7, 0, 0] * 2}, "do not add up to edge_count"),
        ({"nodes": [9, 0, 1, 0, 1, 0, 0, 9, 99, 1, 0, 0, 0, 0]}, "not among the strings"),
        ({"nodes": [9, 0, 1, 0, 1, 0, 0, 77, 0, 1, 0, 0, 0, 0]}, "has no known type"),
        ({"nodes": [9, 0, 1, 0, 1, 0, 0, 9, -1, 1, 0, 0, 0, 0]}, "not all are numbers of 32 bits"),
        ({"edges": [1, 1, 14]}, "leads past the last node"),
        ({"edges": [1, 1, 3]}, "into the middle of a node"),
        ({"edges": [9, 1, 7]}, "edges: one of them has no known type"),
        ({"strings": ["", 7]}, "strings: not all of it is text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_has_its_reason(change: dict[str, Any], reason: str) -> None:
    """The error says which part of the file is wrong, and how."""
    with pytest.raises(Malformed, match=re.escape(reason)):
        read(io.BytesIO(text_of(small() | change)))


def test_a_bomb_is_not_taken_into_memory() -> None:
    """Counts, numbers and texts without end are refused long before they fill memory."""
    huge = small()
    huge["snapshot"]["node_count"] = 1 << 40
    with pytest.raises(Malformed, match="node_count must be between"):
        read(io.BytesIO(text_of(huge)))
    start = text_of(small()).partition(b'"nodes":[')[0] + b'"nodes":['
    with pytest.raises(Malformed, match="something that is no number"):
        read(io.BytesIO(start + b"1" * (1 << 21)))
    with pytest.raises(Malformed, match="or more where the head says"):
        read(io.BytesIO(start + b"1," * (1 << 22)))
    with pytest.raises(Malformed, match="does not come within"):
        read(io.BytesIO(b"{" * (3 << 20)))


def test_the_types_are_those_of_v8() -> None:
    """Our numbers are places in V8's lists."""
    for node in v8.NodeType:
        assert v8.NODE_TYPES[node].replace(" ", "_") == node.name.lower()
    for edge in v8.EdgeType:
        assert v8.EDGE_TYPES[edge] == edge.name.lower()
