"""Who holds the objects of a worker: a library, a destination's modules, or a connection.

Owns the rule whose an object is. It goes by what leads to an object, never by its type, in this
order: what the namespaces of libraries lead to is nobody's; then what the modules of destinations
lead to is theirs; then what a connection's instance, tasks and timers lead to is its own. What two
of one rank lead to is held by several. No way crosses into a namespace, class, function or instance
of somebody else. A module of plugins that several destinations use is as good as a library.

Nothing here runs code of the program that is looked at. Runs in a copy of a worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import uvloop

from sandbox.heap.addresses import REGION_BITS, SLOT_BITS, SLOT_MASK, Addresses
from sandbox.heap.limits import Clock, SnapshotLimits
from sandbox.heap.paths import is_library
from sandbox.heap.plans import sizer
from sandbox.heap.room import Room
from sandbox.protocol import LEAST_HELD_BYTES, Holdings

_MRO = type.__dict__["__mro__"].__get__
_NAMESPACE = type.__dict__["__dict__"].__get__
_MODULE_DICT = vars(types.ModuleType)["__dict__"].__get__
_HANDLES = (vars(uvloop.loop)["Handle"], vars(uvloop.loop)["TimerHandle"])
#: Whose these are is said by the context that they run in.
_RUNNING = frozenset((asyncio.Task, asyncio.Handle, *_HANDLES))
_LOOPS = frozenset((uvloop.loop.Loop, asyncio.AbstractEventLoop))
_LIBRARY_FOLDERS = tuple(
    f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
#: Objects that are looked into at once, and how many times that between two looks at the clock.
_AT_ONCE, _CHECK_EVERY = 256, 64
_LIBRARIES, _SEVERAL = "libraries", "several"
_Key = TypeVar("_Key")
_MARK_OF_LIBRARIES, _MARK_OF_SEVERAL, _FIRST_MARK = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Principals:
    """Whom objects may belong to.

    destinations: the class of each, by the name that the config gives it. connections: the objects
    that have all of a connection's own, by name. connection_of: the variable that says in a context
    which connection it is of. infrastructure: what serves all connections. passing: addresses of
    tasks that end soon, with whatever they hold.
    """

    destinations: Mapping[str, type]
    connections: Mapping[str, Sequence[object]]
    connection_of: contextvars.ContextVar[str]
    infrastructure: object
    passing: frozenset[int] = frozenset()


def holdings(principals: Principals, clock: Clock, tables: int) -> bytes:
    """What each holds, as JSON. `tables` is the descriptor of a `Room`.

    Raises SnapshotFailed where that takes too long or too much.
    """
    return msgspec.json.encode(_Count(principals, clock, tables).run())


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who claims objects: where it begins, and whose modules it may go into."""

    roots: Sequence[object]
    modules: frozenset[str] = frozenset()


class _Count:
    """One count. `_marks` say whose an object is: 0 is nobody yet; a later rank has larger ones."""

    def __init__(self, principals: Principals, clock: Clock, tables: int) -> None:
        self._principals = principals
        self._clock = clock
        self._addresses = Addresses(Room(tables, SnapshotLimits().table_bytes))
        self._sizers: dict[type, Callable[[Any], int]] = {}
        self._bytes = [0] * _FIRST_MARK
        self._rank = _MARK_OF_LIBRARIES
        #: From then on what is somebody's bears a mark, and a class or function that has none was
        #: made by whom it is met in.
        self._are_namespaces_claimed = False
        self._program = _Program(principals.destinations)
        self._kinds: dict[type, str] = {}
        self._instances = {id(one) for own in principals.connections.values() for one in own}

    def run(self) -> Holdings:
        """Claim by rank, each rank what those before it left."""
        modules = [one for name, one in _modules() if name not in self._program.modules]
        self._claim(_MARK_OF_LIBRARIES, _Owner([*modules, self._principals.infrastructure]))
        owners = self._program.owners()
        held = self._claim_each(owners)
        destinations = {key: size for key, size in held.items() if key not in self._program.shared}
        shared = {", ".join(key): held[key] for key in self._program.shared}
        self._are_namespaces_claimed = True
        connections = self._claim_each(self._connections())
        shared |= {
            _LIBRARIES: self._bytes[_MARK_OF_LIBRARIES],
            _SEVERAL: self._bytes[_MARK_OF_SEVERAL],
        }
        return Holdings(
            {name: size for name, size in connections.items() if size >= LEAST_HELD_BYTES},
            [(list(key), size) for key, size in destinations.items() if size >= LEAST_HELD_BYTES],
            {name: size for name, size in shared.items() if size >= LEAST_HELD_BYTES},
        )

    def _connections(self) -> dict[str, _Owner]:
        """Each with its instance, and what runs in its name."""
        roots = {name: list(own) for name, own in self._principals.connections.items()}
        for item in gc.get_objects():
            if self._kind(type(item)) == "running" and id(item) not in self._principals.passing:
                name = self._connection_of(item)
                if name in roots:
                    roots[name].append(item)
        return {name: _Owner(own) for name, own in roots.items()}

    def _connection_of(self, running: object) -> str:
        for each in gc.get_referents(running):
            if type(each) is contextvars.Context:
                return each.get(self._principals.connection_of, "")
        return ""

    # --- claiming ---

    def _claim_each(self, owners: Mapping[_Key, _Owner]) -> dict[_Key, int]:
        """One rank: what each alone holds, in bytes."""
        self._rank = len(self._bytes)
        marks = {}
        for key, owner in owners.items():
            marks[key] = len(self._bytes)
            self._bytes.append(0)
            self._claim(marks[key], owner)
        return {key: self._bytes[mark] for key, mark in marks.items()}

    def _claim(self, mark: int, owner: _Owner) -> None:
        """Mark what its roots lead to and nobody of an earlier rank has.

        What another of this rank has is taken from it, with all below: it is held by several.
        """
        of_several = self._spread(mark, owner.roots, owner)
        if of_several:
            self._spread(_MARK_OF_SEVERAL, of_several, owner)

    def _spread(self, mark: int, roots: Iterable[object], owner: _Owner) -> list[object]:
        """Mark from these roots on; what was met that another of this rank has."""
        others: list[object] = []
        own = {id(root) for root in owner.roots}
        regions, add_region = self._addresses.regions, self._addresses.add_region
        rank, sizes = self._rank, self._bytes
        stack: list[object] = []
        met: Iterable[object] = list(roots)
        rounds = 0
        while True:
            for item in met:
                address = id(item)
                slots = regions.get(address >> REGION_BITS)
                if slots is None:
                    slots = add_region(address)
                place = (address >> SLOT_BITS) & SLOT_MASK
                before = slots[place]
                if before == mark or (before and before < rank):
                    continue
                if before and mark != _MARK_OF_SEVERAL:
                    others.append(item)
                    continue
                if address not in own and self._is_anothers(item, owner):
                    continue
                size = self._size(item)
                if before:
                    sizes[before] -= size
                slots[place] = mark
                sizes[mark] += size
                stack.append(item)
            if not stack:
                return others
            met = gc.get_referents(*stack[-_AT_ONCE:])
            del stack[-_AT_ONCE:]
            rounds += 1
            if rounds % _CHECK_EVERY == 0:
                self._clock.check()

    def _is_anothers(self, item: object, owner: _Owner) -> bool:
        """Whether somebody else's part begins here."""
        kind = self._kind(type(item))
        if kind == "":
            return id(item) in self._instances
        if kind in ("running", "loop"):
            return True
        if self._are_namespaces_claimed:
            return False
        if kind == "dict":
            name = self._program.namespaces.get(id(item))
        elif kind == "module":
            name = self._program.by_id.get(id(item))
        elif kind == "function":
            name = self._program.namespaces.get(id(item.__globals__))  # type: ignore[attr-defined]
        else:
            name = self._program.module_of(item)
        return name is not None and name not in owner.modules

    def _kind(self, kind: type) -> str:
        found = self._kinds.get(kind)
        if found is None:
            mro = _MRO(kind)
            found = ""
            if kind is dict:
                found = "dict"
            elif kind is types.FunctionType:
                found = "function"
            elif types.ModuleType in mro:
                found = "module"
            elif type in mro:
                found = "type"
            elif not _RUNNING.isdisjoint(mro):
                found = "running"
            elif not _LOOPS.isdisjoint(mro):
                found = "loop"
            self._kinds[kind] = found
        return found

    def _size(self, item: object) -> int:
        kind = type(item)
        size_of = self._sizers.get(kind)
        if size_of is None:
            size_of = self._sizers[kind] = sizer(_MRO(kind))
        return size_of(item)


class _Program:
    """The modules of destinations, and which destinations use each.

    modules: by name. by_id, namespaces: their names, by the address of the module and of its dict.
    shared: keys of `owners` that are no destinations': a module that several use.
    """

    def __init__(self, destinations: Mapping[str, type]) -> None:
        of_classes: dict[str, set[str]] = {}
        for name, cls in destinations.items():
            of_classes.setdefault(str(_NAMESPACE(cls).get("__module__")), set()).add(name)
        tops = {_top(name) for name in of_classes}
        self.modules = {
            name: module for name, module in _modules() if _is_program(name, module, tops)
        }
        self.by_id = {id(module): name for name, module in self.modules.items()}
        self.namespaces = {id(_MODULE_DICT(module)): name for name, module in self.modules.items()}
        self.shared: set[tuple[str, ...]] = set()
        self._of_classes = of_classes

    def owners(self) -> dict[tuple[str, ...], _Owner]:
        """By the names of destinations, or of a module that is `shared`."""
        users = self._users()
        of_classes = {tuple(sorted(users[n])) for n in self._of_classes if n in users}
        by_key: dict[tuple[str, ...], list[str]] = {}
        for name in self.modules:
            key = tuple(sorted(users[name]))
            if key not in of_classes and len(key) != 1:
                key = (name,)
                self.shared.add(key)
            by_key.setdefault(key, []).append(name)
        return {
            key: _Owner([_MODULE_DICT(self.modules[n]) for n in names], frozenset(names))
            for key, names in by_key.items()
        }

    def _users(self) -> dict[str, set[str]]:
        """Destinations by the module that they use, themselves or by way of another."""
        users: dict[str, set[str]] = {name: set() for name in self.modules}
        for name, own in self._of_classes.items():
            users.setdefault(name, set()).update(own)
        uses = {name: self._used_by(name) for name in self.modules}
        is_changed = True
        while is_changed:
            is_changed = False
            for name, others in uses.items():
                for other in others:
                    if not users[name] <= users[other]:
                        users[other] |= users[name]
                        is_changed = True
        for name, found in users.items():
            if not found:  # a package that nobody imports by its name
                top = _top(name)
                found.update(*(own for of, own in self._of_classes.items() if _top(of) == top))
        return users

    def _used_by(self, name: str) -> set[str]:
        found: set[str] = set()
        for value in list(_MODULE_DICT(self.modules[name]).values()):
            kind = type(value)
            if types.ModuleType in _MRO(kind):
                found.add(self.by_id.get(id(value), name))
            elif kind is types.FunctionType:
                found.add(self.namespaces.get(id(value.__globals__), name))
            elif type in _MRO(kind):
                found.add(self.module_of(value) or name)
        return found

    def module_of(self, cls: object) -> str | None:
        """The module that a class was made in, where it is one of these."""
        module = _NAMESPACE(cls).get("__module__")
        return module if type(module) is str and module in self.modules else None


def _modules() -> list[tuple[str, Any]]:
    """All modules. Any: what is put into `sys.modules` and is none is left out."""
    return [
        (name, module)
        for name, module in list(sys.modules.items())
        if type(name) is str and types.ModuleType in _MRO(type(module))
    ]


def _top(name: str) -> str:
    """The package that a module is of; of built-in destinations, the destination's."""
    parts = name.split(".")
    return ".".join(parts[:2] if parts[0] == "destinations" else parts[:1])


def _is_program(name: str, module: types.ModuleType, tops: set[str]) -> bool:
    """Whether it is of a destination: in the package of one's class, or on a path for plugins."""
    if _top(name) in tops:
        return True
    file = _MODULE_DICT(module).get("__file__")
    return type(file) is str and not is_library(name) and not file.startswith(_LIBRARY_FOLDERS)
