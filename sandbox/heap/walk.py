"""The walk over the live heap: every object once, breadth first, numbered as it is met.

Breadth first, so that the way by which an object is met first is a shortest
one. Rows go to spools; the walk's own objects are hidden from itself. Ends early
where its limits or its room say so, with the graph that it has then:
what was met and not yet looked at is there, without its references.
"""

from __future__ import annotations

import array
import collections
import gc
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field

from sandbox.heap import roots as root
from sandbox.heap.addresses import HIDDEN, REGION_BITS, SLOT_BITS, SLOT_MASK, Addresses
from sandbox.heap.builtin_edges import frame_variables, plans_with_builtin
from sandbox.heap.limits import Clock, SnapshotLimits
from sandbox.heap.plans import PART
from sandbox.heap.room import Room, RoomUsedUp
from sandbox.heap.spool import Spool
from sandbox.heap.strings import Strings, function_of
from sandbox.heap.v8 import EdgeType

#: Objects between two looks at the limits.
_CHECK_EVERY = 8192
_MAX_SIZE = 0xFFFF_FFFF
#: Of the room, the share that is kept for rows of what is met already.
_FOR_ROWS = 0.2
_ROW_BYTES = 16
#: Unreached objects that are brought into a telling order; more are taken as they come.
_MAX_ORDERED = 300_000
#: Codes of weak edges, the last type, begin here.
_WEAK = EdgeType.WEAK << 29


@dataclass(slots=True)
class Group:
    """A node that is no object: the roots, or a part of them. `edges`: codes and numbers."""

    name: str
    edges: array.array[int] = field(default_factory=lambda: array.array("I"))


@dataclass(slots=True)
class Graph:
    """What the walk found.

    groups: the first nodes, numbered from 0: the root of all, "(GC roots)", and its parts.
    nodes: of each object, from number `len(groups)` on: type and name, id, bytes, edges.
    edges: of each object in that order: type and name or index, number of the target.
    notes: what an operator should know of this snapshot; empty where it is complete.
    """

    groups: list[Group]
    nodes: Spool
    edges: Spool
    strings: Strings
    notes: list[str]


class Walk:
    """One walk. Make it, then `run` it once. What `gc` has not frozen by then is not looked at."""

    def __init__(self, strings: Strings, limits: SnapshotLimits, clock: Clock, tables: int) -> None:
        """`tables` is the descriptor of a `Room`. Raises SnapshotFailed."""
        self._limits = limits
        self._clock = clock
        self._room = Room(tables, limits.table_bytes)
        self._leave_bytes = int(self._room.size_bytes * _FOR_ROWS)
        self._addresses = Addresses(self._room, leave_bytes=self._leave_bytes)
        self._plans = plans_with_builtin(strings)
        names = ("", "(GC roots)", "(threads)", "(interpreter)", "(tasks)", "(unreached)")
        nodes, edges = Spool(self._room), Spool(self._room)
        self._graph = Graph([Group(name) for name in names], nodes, edges, strings, [])
        self._queue: collections.deque[object] = collections.deque()
        self._count = len(names)
        self._is_over = False
        self._broken = 0
        self._hide()

    def run(self, taken: root.Roots, skip: types.FrameType) -> Graph:
        """Walk from all roots; `skip` is the innermost frame that is not looked at."""
        graph, edge = self._graph, self._plans.edge
        top, roots, threads, interpreter, tasks, unreached = graph.groups
        top.edges.extend((EdgeType.ELEMENT << 29 | 1, 1))
        self._addresses.hide(taken, taken.threads, taken.interpreter, skip)

        for name, module in list(sys.modules.items()):
            if module is not None:
                self._root(roots, edge(EdgeType.PROPERTY, graph.strings.name(name)), module)
        # After the modules: of two ways of the same length, the one by a module tells more.
        for number, group in enumerate(graph.groups[2:], 2):
            roots.edges.extend((edge(EdgeType.PROPERTY, group.name), number))
        self._threads(threads, taken, skip)
        for name, value in taken.interpreter:
            self._root(interpreter, edge(EdgeType.PROPERTY, graph.strings.name(name)), value)
        self._empty_queue()

        for number, task in enumerate(root.tasks()):
            # One that something holds is shown here, and is not held by it once more.
            kind = EdgeType.ELEMENT if self._addresses.number(task) == 0 else EdgeType.WEAK
            code = kind << 29 | number
            if kind is EdgeType.WEAK:
                code = edge(kind, f"<task {number}>")
            self._root(tasks, code, task)
        self._empty_queue()
        if not self._is_over:
            self._unreached(unreached)
        if not taken.interpreter:
            graph.notes.append("guppy does not fit this interpreter: thread-locals are missing")
        if self._broken:
            graph.notes.append(f"{self._broken} objects could not be looked into")
        return graph

    def _threads(self, group: Group, taken: root.Roots, skip: types.FrameType) -> None:
        edge, strings = self._plans.edge, self._graph.strings
        for frame in root.own_frames(skip):
            if frame.f_locals is frame.f_globals:
                continue  # a module's, which is a root itself
            where = strings.name(f"<frame {function_of(frame)}>")
            for code, value in frame_variables(self._plans, frame, f"{where}.f_locals", strings):
                self._root(group, code, value)
        for variable, value in root.context():
            name = f"<context>[{strings.name(variable)}]"
            self._root(group, edge(EdgeType.PROPERTY, name), value)
        for thread, frames in taken.threads:
            for frame_of in frames:
                where = f"<thread {strings.name(thread)}: {strings.name(frame_of.function)}>"
                for name, value in frame_of.variables.items():
                    text = f"{where}.f_locals[{strings.attribute(name)!r}]"
                    self._root(group, edge(EdgeType.CONTEXT, text), value)

    def _unreached(self, group: Group) -> None:
        """What no root leads to: garbage that was not collected yet, or held by C code only."""
        try:
            found = self._not_met()
        except RoomUsedUp as error:
            self._end_early(str(error))
            return
        number = 0
        for item in found:
            if self._is_over:
                return
            if self._addresses.number(item) == 0:
                self._root(group, EdgeType.ELEMENT << 29 | number, item)
                self._empty_queue()
                number += 1

    def _not_met(self) -> list[object]:
        """What of the worker's no root leads to, in a telling order. Raises RoomUsedUp."""
        for item in root.tracked():
            # Made since the walk began: ours.
            if self._addresses.number(item) == 0:
                self._addresses.hide(item)
        gc.unfreeze()
        met = self._addresses.number
        found = [item for item in root.tracked() if met(item) == 0]
        if len(found) < _MAX_ORDERED:
            found = root.entrances(found)
        self._addresses.hide(found)
        return found

    def _root(self, group: Group, code: int, item: object) -> None:
        number = self._addresses.number(item)
        if number == HIDDEN:
            return
        if number == 0:
            number = self._count
            self._count += 1
            address = id(item)
            slots = self._addresses.regions[address >> REGION_BITS]
            slots[(address >> SLOT_BITS) & SLOT_MASK] = number
            self._queue.append(item)
        group.edges.extend((code, number))

    def _empty_queue(self) -> None:
        """Look into all that was met, and all that is met by it."""
        while self._queue:
            self._look_at(_CHECK_EVERY)
            self._graph.nodes.flush()
            self._graph.edges.flush()
            if not self._is_over:
                self._judge()

    def _judge(self) -> None:
        needed = self._leave_bytes + _ROW_BYTES * len(self._queue)
        if self._clock.is_walk_over:
            self._end_early(f"the walk took longer than {self._limits.walk_s:g} s")
        elif self._room.left_bytes < needed:
            self._end_early(self._room.used_up)

    def _end_early(self, why: str) -> None:
        self._is_over = True
        self._graph.notes.append(f"incomplete: {why}")

    def _look_at(self, most: int) -> None:
        """The loop that everything depends on: its calls are what a snapshot costs."""
        queue, plans, make = self._queue, self._plans.by_type, self._plans.make
        regions, add_region = self._addresses.regions, self._addresses.add_region
        id_parts = self._addresses.id_parts
        take, push = queue.popleft, queue.append
        add_node = self._graph.nodes.buffer.extend
        add_edge = self._graph.edges.buffer.append
        edges_so_far = self._graph.edges.buffer
        count, is_over = self._count, self._is_over
        for _ in range(min(most, len(queue))):
            item = take()
            plan = plans.get(id(type(item)))
            if plan is None:
                plan = make(type(item))
            node_type, name, namer, size_of, edges = plan
            before = len(edges_so_far)
            own = id(item)
            try:
                size = size_of(item)
                if name < 0:
                    name = namer(item)
                if edges is not None and not is_over:
                    for code, target in edges(item):
                        address = id(target)
                        slots = regions.get(address >> REGION_BITS)
                        if slots is None:
                            slots = add_region(address)
                        place = (address >> SLOT_BITS) & SLOT_MASK
                        number = slots[place]
                        if number == 0:
                            if code >= _WEAK:
                                # Of no weak edge: met by a strong way later, or else not held.
                                if code == PART:
                                    slots[place] = HIDDEN
                                continue
                            slots[place] = number = count
                            count += 1
                            push(target)
                        elif number == HIDDEN:
                            continue
                        add_edge(code)
                        add_edge(number)
            except MemoryError:
                raise
            except RoomUsedUp as error:
                self._end_early(str(error))
                is_over = True
            except Exception:  # noqa: BLE001 - a type whose own C code refuses; the rest is fine
                self._broken += 1
                if name < 0:
                    name = self._graph.strings.number("<unknown>")
                size = object.__sizeof__(item)
            add_node(
                (
                    node_type << 28 | name,
                    id_parts[own >> REGION_BITS] | (own >> SLOT_BITS & SLOT_MASK) << 1 | 1,
                    size if size < _MAX_SIZE else _MAX_SIZE,
                    (len(edges_so_far) - before) >> 1,
                )
            )
        self._count = count

    def _hide(self) -> None:
        """Leave out what the interpreter has only one of, and what the walk itself is made of."""
        hide = self._addresses.hide
        hide(None, True, False, ..., NotImplemented, (), "", b"")
        hide(*range(-5, 257), *map(chr, range(256)), *(bytes((byte,)) for byte in range(256)))
        plans, strings, graph = self._plans, self._graph.strings, self._graph
        hide(self, self._addresses, self._addresses.regions, self._queue, self._room)
        hide(*_own(plans), *_own(strings), *_own(graph.nodes), *_own(graph.edges))
        hide(graph, graph.groups, graph.notes, *graph.groups, self._limits, self._clock)


def _own(item: object) -> Iterable[object]:
    """An object of ours, and what it is made of."""
    yield item
    own = getattr(item, "__dict__", {})
    yield own
    yield from own.values()
