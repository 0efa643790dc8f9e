"""What grew between two snapshots of one process. Pure.

An object that lives on has the same id in both, so what is new is known one by
one; where it hangs is told as for suspects, by what is new alone.
"""

from __future__ import annotations

import array

import msgspec

from sandbox.heap.analysis import MAX_ROWS, Heap, Suspect, by_class, suspects
from sandbox.heap.file import Snapshot

#: Below this share of common ids, two snapshots are not of one process.
_COMMON_SHARE = 0.2


class Change(msgspec.Struct, frozen=True):
    """A class: how many objects and bytes more (or less, below zero) there are now."""

    kind: str
    objects: int
    bytes: int
    objects_now: int
    bytes_now: int


class Difference(msgspec.Struct, frozen=True):
    """What changed.

    new_objects, new_bytes: what was not there before, and growth of what was. gone_objects: what
    is not there any more. grew: where the new part hangs; shares are of `new_bytes`.
    """

    objects_before: int
    objects_now: int
    bytes_before: int
    bytes_now: int
    new_objects: int
    new_bytes: int
    gone_objects: int
    grew: list[Suspect]
    by_class: list[Change]
    notes: list[str]


def difference(old: Snapshot, new: Snapshot) -> Difference:
    """What `new` has that `old` has not."""
    return compared(old, new)[1]


def compared(old: Snapshot, new: Snapshot) -> tuple[Heap, Difference]:
    """The same, and the newer heap in which only what is new has any weight."""
    before = dict(zip(old.ids, zip(old.node_types, old.sizes, strict=True), strict=True))
    weights = array.array("I")
    new_objects = common = 0
    for number, kind, size in zip(new.ids, new.node_types, new.sizes, strict=True):
        known = before.get(number)
        if known is not None and known[0] == kind:
            common += 1
            weights.append(max(0, size - known[1]))
        else:
            # Nothing lived at this address, or an object of another kind did.
            new_objects += 1
            weights.append(size)
    notes = [f"the older one: {note}" for note in old.about.notes]
    notes += [f"the newer one: {note}" for note in new.about.notes]
    if common < len(old) * _COMMON_SHARE:
        notes.append("few objects are in both: are these two snapshots of one process?")
    heap = Heap(new, weights)
    found = Difference(
        objects_before=len(old),
        objects_now=len(new),
        bytes_before=sum(old.sizes),
        bytes_now=sum(new.sizes),
        new_objects=new_objects,
        new_bytes=sum(weights),
        gone_objects=len(old) - common,
        grew=suspects(heap),
        by_class=_changes(old, new),
        notes=notes,
    )
    return heap, found


def _changes(old: Snapshot, new: Snapshot) -> list[Change]:
    before = by_class(old, range(len(old)))
    now = by_class(new, range(len(new)))
    nothing = [0, 0]
    changes = []
    for kind in before.keys() | now.keys():
        then_objects, then_bytes = before.get(kind, nothing)
        objects, size = now.get(kind, nothing)
        if (objects, size) != (then_objects, then_bytes):
            changes.append(Change(kind, objects - then_objects, size - then_bytes, objects, size))
    return sorted(changes, key=lambda change: (-change.bytes, change.kind))[:MAX_ROWS]
