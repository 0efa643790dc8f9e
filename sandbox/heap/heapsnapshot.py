"""Writes a graph as a V8 heap snapshot, as Chrome DevTools and memlab read it.

Key order, no blank before a colon, and edges grouped in the order of their
nodes are what the loaders want.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator

from sandbox.heap import v8
from sandbox.heap.addresses import synthetic_id
from sandbox.heap.v8 import NodeType
from sandbox.heap.walk import Graph

Write = Callable[[bytes], None]

#: Names that become text in one step.
_TEXTS = 1024
_NAME_MASK = (1 << 28) - 1
_INDEX_MASK = (1 << 29) - 1
_FIELDS = len(v8.NODE_FIELDS)


def write(graph: Graph, out: Write) -> None:
    """Write the whole file through `out`, in pieces of some ten kilobytes. Frees the graph."""
    strings = graph.strings
    groups = [
        (NodeType.SYNTHETIC << 28 | strings.number(group.name), group.edges)
        for group in graph.groups
    ]
    nodes = len(groups) + len(graph.nodes) // 4
    edges = (sum(len(own) for _, own in groups) + len(graph.edges)) // 2
    head = {
        "meta": v8.META,
        "node_count": nodes,
        "edge_count": edges,
        "trace_function_count": 0,
        # DevTools and memlab ignore it; our report tells it.
        "bulkhead": {"notes": graph.notes, "strings": "full" if strings.is_full else "truncated"},
    }
    out(b'{"snapshot":' + json.dumps(head, separators=(",", ":")).encode() + b',\n"nodes":[')
    first = [
        (name >> 28, name & _NAME_MASK, synthetic_id(number), 0, len(own) // 2)
        for number, (name, own) in enumerate(groups)
    ]
    out(b"\n,".join(b"%d,%d,%d,%d,%d,0,0" % row for row in first))
    for text in _node_rows(graph):
        out(text)
    out(b'],\n"edges":[')
    lead = b""
    for _, own in groups:
        if own:
            out(lead + _edge_rows(own.tolist()))
            lead = b"\n,"
    for part in graph.edges.take():
        out(lead + _edge_rows(part.tolist()))
        lead = b"\n,"
    out(b'],\n"strings":[')
    lead = b""
    for texts in _batches(strings.table, _TEXTS):
        # One array's text without its brackets.
        out(lead + json.dumps(texts, separators=(",\n", ":")).encode()[1:-1])
        lead = b",\n"
    out(b"]}\n")


def _node_rows(graph: Graph) -> Iterator[bytes]:
    one = b"\n,%d,%d,%d,%d,%d,0,0"
    for rows in graph.nodes.take():
        count = len(rows) // 4
        values = [0] * (5 * count)
        names = rows[0::4]
        values[0::5] = [name >> 28 for name in names]
        values[1::5] = [name & _NAME_MASK for name in names]
        values[2::5] = rows[1::4]
        values[3::5] = rows[2::4]
        values[4::5] = rows[3::4]
        yield one * count % tuple(values)


def _edge_rows(pairs: list[int]) -> bytes:
    count = len(pairs) // 2
    values = [0] * (3 * count)
    codes = pairs[0::2]
    values[0::3] = [code >> 29 for code in codes]
    values[1::3] = [code & _INDEX_MASK for code in codes]
    # An edge leads to a place in the array of nodes.
    values[2::3] = [number * _FIELDS for number in pairs[1::2]]
    return (b"%d,%d,%d\n," * count)[:-2] % tuple(values)


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(itertools.islice(remaining, size)):
        yield batch
