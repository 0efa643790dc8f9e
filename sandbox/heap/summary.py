"""The small snapshots: a table of what there is (`summary`), and guppy's own file (`hpy`).

Both are guppy's count of the heap. Where guppy does not fit the interpreter, the
summary is counted by our own walk, without the table by referrers, and says so.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from sandbox.heap.limits import Clock, SnapshotFailed
from sandbox.heap.v8 import NodeType
from sandbox.heap.walk import Graph

#: Rows of each table; what is left is one row more.
MAX_ROWS = 200
_NAME_MASK = (1 << 28) - 1


class Row(msgspec.Struct, frozen=True):
    """A part of the heap: objects of one kind, their number, and their own size in bytes."""

    kind: str
    objects: int
    bytes: int


class Summary(msgspec.Struct, frozen=True, tag="bulkhead-heap-summary", tag_field="file"):
    """The file, as JSON.

    by_class: objects by their class, a dict by the class that owns it. by_referrers: by the
    classes of all that refers to them; empty where there was no memory or no guppy to tell it.
    """

    objects: int
    bytes: int
    by_class: list[Row]
    by_referrers: list[Row]
    notes: list[str]


def summarize(clock: Clock, walk: Callable[[], Graph]) -> bytes:
    """The summary of this process. Raises SnapshotFailed, MemoryError."""
    try:
        summary = _by_guppy(clock)
    except (SnapshotFailed, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - see _unfit
        summary = _by_walk(walk(), _unfit(error))
    return msgspec.json.encode(summary)


def hpy_file() -> bytes:
    """What `guppy.hpy().heap().stat.dump` writes. Raises SnapshotFailed, MemoryError."""
    text = io.StringIO()
    try:
        _heap().stat.dump(text)
    except MemoryError:
        raise
    except BaseException as error:
        raise SnapshotFailed(_unfit(error)) from error
    return text.getvalue().encode("utf-8", "backslashreplace")


def _by_guppy(clock: Clock) -> Summary:
    heap = _heap()
    by_class = _rows(heap.byclodo)
    clock.check()
    notes = []
    try:
        by_referrers = _rows(heap.byrcs)
    except MemoryError:
        by_referrers = []
        notes.append("there was no memory left to tell what refers to what")
    clock.check()
    # Added up here: guppy's own work makes some of the objects larger meanwhile.
    return Summary(
        sum(row.objects for row in by_class),
        sum(row.bytes for row in by_class),
        by_class,
        by_referrers,
        notes,
    )


def _heap() -> Any:
    """guppy's set of all objects. Any: guppy has no types."""
    import guppy

    # It collects garbage first, which `gc.freeze` has left none of: no finalizer runs.
    return guppy.hpy().heap()


def _unfit(error: BaseException) -> str:
    """Why guppy gave nothing: it was built for another interpreter, or asked a class for its name
    whose metaclass raises whatever it likes.
    """
    return f"guppy does not fit this interpreter or heap: {type(error).__name__}: {error}"[:500]


def _rows(heap: Any) -> list[Row]:
    parts = [Row(str(row.name), row.count, row.size) for row in heap.partition.get_rows(0)]
    return _largest(parts)


def _largest(parts: Iterable[Row]) -> list[Row]:
    found = sorted(parts, key=lambda row: row.bytes, reverse=True)
    rest = found[MAX_ROWS:]
    if not rest:
        return found
    others = Row(
        f"{len(rest)} other kinds",
        sum(row.objects for row in rest),
        sum(row.bytes for row in rest),
    )
    return [*found[:MAX_ROWS], others]


def _by_walk(graph: Graph, note: str) -> Summary:
    texts = list(graph.strings.table)
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for chunk in graph.nodes.take():
        for start in range(0, len(chunk), 4):
            code = chunk[start]
            kind = texts[code & _NAME_MASK]
            if code >> 28 == NodeType.STRING:
                kind = "str"
            elif kind.startswith("<bytes of "):
                kind = "bytes"
            objects[kind] += 1
            sizes[kind] += chunk[start + 2]
    rows = _largest(Row(kind, objects[kind], sizes[kind]) for kind in objects)
    return Summary(objects.total(), sizes.total(), rows, [], [note, *graph.notes])
