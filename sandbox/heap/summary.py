"""The small snapshots: a table of what there is (`summary`), and the same for guppy (`hpy`).

Both are counted by our own walk, which runs no code of what it looks at: guppy itself asks
classes for their names and objects for their size, and whatever answers would run here.
"""

from __future__ import annotations

import array
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from sandbox.heap.limits import Clock
from sandbox.heap.v8 import NodeType
from sandbox.heap.walk import Graph

#: Rows of each table; what is left is one row more.
MAX_ROWS = 200
#: Different sets of classes that refer to an object, and classes in one; past them it is "others".
_MAX_SETS, _MAX_KINDS = 20_000, 8
_NAME_MASK = (1 << 28) - 1
_OTHERS = "others"


class Row(msgspec.Struct, frozen=True):
    """A part of the heap: objects of one kind, their number, and their own size in bytes."""

    kind: str
    objects: int
    bytes: int


class Summary(msgspec.Struct, frozen=True, tag="bulkhead-heap-summary", tag_field="file"):
    """The file, as JSON.

    by_class: objects by their class; the dict of an instance's attributes counts as part of it.
    by_referrers: by the classes of all that refers to them; empty where there was no memory to
    tell it.
    """

    objects: int
    bytes: int
    by_class: list[Row]
    by_referrers: list[Row]
    notes: list[str]


def summarize(clock: Clock, graph: Graph) -> bytes:
    """The summary of what a walk found; frees the graph. Raises SnapshotFailed, MemoryError."""
    counted = _Counted(graph)
    clock.check()
    notes = [*graph.notes]
    by_referrers: list[Row] = []
    try:
        by_referrers = _by_referrers(graph, counted)
    except MemoryError:
        notes.append("there was no memory left to tell what refers to what")
    clock.check()
    rows = counted.rows()
    return msgspec.json.encode(
        Summary(
            sum(row.objects for row in rows),
            sum(row.bytes for row in rows),
            _largest(rows),
            by_referrers,
            notes,
        )
    )


def hpy_file(graph: Graph) -> bytes:
    """A table by class as `guppy.hpy().heap().stat.dump` writes it, for `guppy.hpy().load`.

    Frees the graph. Raises SnapshotFailed, MemoryError.
    """
    rows = sorted(_Counted(graph).rows(), key=lambda row: row.bytes, reverse=True)
    lines = [
        ".loader: _load_stat",
        ".format: SetFormat",
        f".timemade: {time.time():f}",
        f".count: {sum(row.objects for row in rows)}",
        f".size: {sum(row.bytes for row in rows)}",
        ".kindname: ",
        ".kindheader: Class",
        f".numrows: {len(rows)}",
        *(f".r: {row.objects} {row.bytes} {row.kind}" for row in rows),
        ".end: .loader: _load_stat",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


class _Counted:
    """Objects of a graph by class.

    kinds: of each object, in the order of their numbers, the number of its class in `names`.
    sizes, edges: of each, its own bytes, and how many references it has.
    """

    def __init__(self, graph: Graph) -> None:
        self.names: list[str] = []
        self.kinds = array.array("I")
        self.sizes = array.array("I")
        self.edges = array.array("I")
        known: dict[int, int] = {}
        numbers: dict[str, int] = {}
        texts = list(graph.strings.table)
        for rows in graph.nodes.take():
            codes = rows[0::4]
            for code in set(codes).difference(known):
                name = _kind(code >> 28, texts[code & _NAME_MASK])
                known[code] = numbers.setdefault(name, len(numbers))
            self.kinds.extend(map(known.__getitem__, codes))
            self.sizes.extend(rows[2::4])
            self.edges.extend(rows[3::4])
        self.names = list(numbers)

    def rows(self) -> list[Row]:
        """One a class."""
        return _rows(self.names, self.kinds, self.sizes)


def _kind(node_type: int, name: str) -> str:
    """The class of a node: those of values are named by what is told of the value."""
    match node_type:
        case NodeType.STRING:
            return "str"
        case NodeType.NUMBER:
            return name if name in ("int", "float", "complex") else "number"
        case NodeType.CLOSURE:
            return "function"
        case _:
            if name.startswith("<bytes of "):
                return "bytes"
            first, _, rest = name.partition(" ")
            return _WORDS.get(first, first) if rest else name


#: Nodes that are named by what they are: `class shop.Order`, `code deliver`. A task is named by its
#: class and what it runs.
_WORDS = {
    "class": "type",
    "code": "types.CodeType",
    "module": "module",
    "frame": "types.FrameType",
    "coroutine": "types.CoroutineType",
    "generator": "types.GeneratorType",
    "async_generator": "types.AsyncGeneratorType",
}


def _rows(names: list[str], kinds: Iterable[int], sizes: Iterable[int]) -> list[Row]:
    objects: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    for kind, size in zip(kinds, sizes, strict=True):
        objects[kind] += 1
        totals[kind] += size
    return [Row(names[kind], objects[kind], totals[kind]) for kind in objects]


def _by_referrers(graph: Graph, counted: _Counted) -> list[Row]:
    """Objects by the classes of all that refers to them.

    Each object has the number of a set of classes, and a reference leads from one set to another:
    that is kept, so that a reference costs one look-up.
    """
    first = len(graph.groups)
    sets: list[frozenset[int]] = [frozenset()]
    numbers: dict[frozenset[int], int] = {frozenset(): 0}
    steps: dict[tuple[int, int], int] = {}
    of = array.array("I", bytes(4 * len(counted.kinds)))
    root = len(counted.names)

    def step(kind: int, now: int) -> int:
        wider = sets[now] | {kind}
        if len(wider) > _MAX_KINDS or len(sets) >= _MAX_SETS:
            wider = frozenset((root + 1,))
        number = numbers.get(wider)
        if number is None:
            number = numbers[wider] = len(sets)
            sets.append(wider)
        steps[kind, now] = number
        return number

    for kind, target in _references(graph, counted, root):
        if target >= first:
            now = of[target - first]
            known = steps.get((kind, now))
            of[target - first] = step(kind, now) if known is None else known
    names = [*counted.names, "(roots)", _OTHERS]
    told = [", ".join(sorted(names[kind] for kind in each)) or "(nothing)" for each in sets]
    return _largest(_rows(told, of, counted.sizes))


def _references(graph: Graph, counted: _Counted, root: int) -> Iterator[tuple[int, int]]:
    """All references: the class of what refers, and the number of what it leads to."""
    for group in graph.groups:
        for target in group.edges[1::2]:
            yield root, target
    owners = itertools.chain.from_iterable(
        itertools.repeat(kind, count)
        for kind, count in zip(counted.kinds, counted.edges, strict=True)
    )
    for part in graph.edges.take():
        yield from zip(owners, part[1::2], strict=False)


def _largest(rows: list[Row]) -> list[Row]:
    found = sorted(rows, key=lambda row: row.bytes, reverse=True)
    rest = found[MAX_ROWS:]
    if not rest:
        return found
    others = Row(
        f"{len(rest)} other kinds",
        sum(row.objects for row in rest),
        sum(row.bytes for row in rest),
    )
    return [*found[:MAX_ROWS], others]
