"""V8's heap snapshot format: its numbers and its header.

Verified with the loaders of Chrome DevTools (`front_end/entrypoints/heap_snapshot_worker` of
npm's chrome-devtools-frontend) and of memlab; there is no other specification.
"""

from __future__ import annotations

import enum

NODE_FIELDS = (
    "type",
    "name",
    "id",
    "self_size",
    "edge_count",
    "trace_node_id",
    "detachedness",
)
NODE_TYPES = (
    "hidden",
    "array",
    "string",
    "object",
    "code",
    "closure",
    "regexp",
    "number",
    "native",
    "synthetic",
    "concatenated string",
    "sliced string",
    "symbol",
    "bigint",
    "object shape",
)
EDGE_FIELDS = ("type", "name_or_index", "to_node")
EDGE_TYPES = ("context", "element", "property", "internal", "hidden", "shortcut", "weak")

#: A section that is declared here must be there, so samples, traces and locations are not.
META = {
    "node_fields": NODE_FIELDS,
    "node_types": [NODE_TYPES, "string", "number", "number", "number", "number", "number"],
    "edge_fields": EDGE_FIELDS,
    "edge_types": [EDGE_TYPES, "string_or_number", "node"],
}


class NodeType(enum.IntEnum):
    """The types of nodes that we use, by their place in NODE_TYPES."""

    STRING = 2
    OBJECT = 3
    CODE = 4
    CLOSURE = 5
    NUMBER = 7
    NATIVE = 8
    SYNTHETIC = 9


class EdgeType(enum.IntEnum):
    """The types of edges that we use, by their place in EDGE_TYPES."""

    CONTEXT = 0
    ELEMENT = 1
    PROPERTY = 2
    INTERNAL = 3
    WEAK = 6
