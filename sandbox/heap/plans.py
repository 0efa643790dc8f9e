"""What an object refers to, by what name, and how large it is: one plan a type.

Nothing here runs code of the program that is looked at: no `getattr`, `repr`,
`len` or iteration that a class could have its own idea of. Names come from the
interpreter's own descriptors; what only `gc` knows of is named by its type.

An instance's `__dict__` that nothing else holds is part of the instance, so that
its attributes are the instance's own edges.
"""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sandbox.heap.strings import Strings, qualified
from sandbox.heap.v8 import EdgeType, NodeType

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_MRO = type.__dict__["__mro__"].__get__
_NAMESPACE = type.__dict__["__dict__"].__get__
_FLAGS = type.__dict__["__flags__"].__get__
_BASE = type.__dict__["__base__"].__get__
_BASIC_SIZE = type.__dict__["__basicsize__"].__get__
#: References to a dict that only its instance holds, as `getrefcount` counts them in `_own`.
_OWN_REFERENCES = 3

#: The code of an edge (see Plans.edge) and what it leads to.
Edge = tuple[int, object]
#: The references of an object. Any: each is only called with objects of the type that it is for.
Edges = Callable[[Any], Iterable[Edge]]
#: In place of the code of an edge: this dict is counted and shown as a part of its owner.
PART = 7 << 29

Getter = Callable[[Any], Any]  # Any: objects of whatever type a descriptor is of


class Plan(NamedTuple):
    """What is to be done with each object of one type.

    name: the number of its node's name, or -1 where `namer` tells it object by object.
    edges: its references, or None where it has none that `gc` could see.
    """

    node_type: int
    name: int
    namer: Callable[[Any], int]  # Any: only ever called with objects of the plan's type
    size: Callable[[Any], int]
    edges: Edges | None


class Plans:
    """The plans of all types met so far."""

    def __init__(self, strings: Strings) -> None:
        self.strings = strings
        #: By the type's id: its hash and equality may be code of its metaclass. No type goes away
        #: while one looks, since nothing is freed then.
        self.by_type: dict[int, Plan] = {}
        self._names: dict[str, int] = {}
        self._builtin: frozenset[int] = frozenset()

    def builtin_are_known(self) -> None:
        """What was added so far are the interpreter's own types; others may derive from them."""
        self._builtin = frozenset(self.by_type)

    def make(self, kind: type) -> Plan:
        """The plan of a type that has none yet."""
        plan = self.by_type[id(kind)] = self._plan(kind)
        return plan

    def add(
        self,
        kind: type,
        node_type: NodeType,
        edges: Edges | None,
        namer: Callable[[Any], int] | None = None,
        size: Callable[[Any], int] = sys.getsizeof,
    ) -> None:
        """Give a type of the interpreter its plan."""
        if namer is None:
            plan = Plan(node_type, self.strings.number(qualified(kind)), _unnamed, size, edges)
        else:
            plan = Plan(node_type, -1, namer, size, edges)
        self.by_type[id(kind)] = plan

    def edge(self, edge_type: EdgeType, name: str) -> int:
        """The code of an edge with a name: its type above bit 29, and the name's number."""
        return edge_type << 29 | self.strings.number(name)

    def attribute(self, name: object) -> int:
        """The code of an edge for an attribute of this name."""
        code = self._names.get(name) if type(name) is str else None
        if code is None:
            code = self.edge(EdgeType.PROPERTY, self.strings.attribute(name))
            if type(name) is str and len(self._names) < 100_000:
                self._names[name] = code
        return code

    def _plan(self, kind: type) -> Plan:
        mro = _MRO(kind)
        base = next((each for each in mro if id(each) in self._builtin), None)
        if base is type or base is types.ModuleType:
            return self.by_type[id(base)]
        content = self.by_type[id(base)].edges if base is not None else None
        # Where all of its classes are known to the last byte, `gc` need not be asked as well.
        is_complete = all(
            each is object or id(each) in self._builtin or _is_made_in_python(each) for each in mro
        )
        get_dict = _dict_getter(mro)
        members = [
            (self.attribute(name), descriptor.__get__)
            for each in mro
            if id(each) not in self._builtin
            for name, descriptor in _NAMESPACE(each).items()
            if type(descriptor) is types.MemberDescriptorType
        ]
        class_edge = -1
        if _FLAGS(kind) & _HEAP_TYPE:
            class_edge = self.edge(EdgeType.INTERNAL, "__class__")
        if is_complete and get_dict is not None and content is None and not members:
            edges = self._plain_instance(get_dict, kind, class_edge)
        else:
            edges = self._instance(kind, get_dict, members, content, is_complete, class_edge)
        own_size = sizer(mro)
        size = own_size
        if get_dict is not None and is_complete:
            size = _size_with_dict(own_size, get_dict)
        number = self.strings.number(qualified(kind))
        return Plan(NodeType.OBJECT, number, _unnamed, size, edges)

    def _plain_instance(self, get_dict: Getter, kind: type, class_edge: int) -> Edges:
        names, attribute = self._names, self.attribute
        dict_edge = attribute("__dict__")

        def edges(item: Any) -> Iterator[Edge]:
            own = get_dict(item)
            if sys.getrefcount(own) > _OWN_REFERENCES:
                yield dict_edge, own
            else:
                yield PART, own
                for name, value in own.items():
                    yield names.get(name) or attribute(name), value
            yield class_edge, kind

        return edges

    def _instance(
        self,
        kind: type,
        get_dict: Getter | None,
        members: Sequence[tuple[int, Getter]],
        content: Edges | None,
        is_complete: bool,
        class_edge: int,
    ) -> Edges:
        attribute = self.attribute
        dict_edge = attribute("__dict__")

        def of_members(item: Any) -> Iterator[Edge]:
            for code, get in members:
                try:
                    yield code, get(item)
                except AttributeError:
                    continue  # a slot that nothing was put in

        def complete(item: Any) -> Iterator[Edge]:
            if content is not None:
                yield from content(item)
            yield from of_members(item)
            if get_dict is not None:
                own = get_dict(item)
                if sys.getrefcount(own) > _OWN_REFERENCES:
                    yield dict_edge, own
                else:
                    yield PART, own
                    for name, value in own.items():
                        yield attribute(name), value
            if class_edge >= 0:
                yield class_edge, kind

        def with_rest(item: Any) -> Iterator[Edge]:
            own = get_dict(item) if get_dict is not None else None
            known = {id(value): value for value in gc.get_referents(item)}
            told = {id(kind)}
            for code, value in itertools.chain(
                content(item) if content is not None else (), of_members(item)
            ):
                # A member of C may be a number that was made for us just now.
                if id(value) in known:
                    told.add(id(value))
                    yield code, value
            if type(own) is dict:
                told.add(id(own))
                yield dict_edge, own
            if class_edge >= 0:
                yield class_edge, kind
            for address, value in known.items():
                if address not in told:
                    yield self.unnamed(value), value

        return complete if is_complete else with_rest

    def unnamed(self, value: object) -> int:
        """The code of an edge of which only its target is known."""
        return self.edge(EdgeType.INTERNAL, f"<{qualified(type(value))}>")


def _unnamed(_: object) -> int:
    raise AssertionError("every object of this type has the same name")


def _is_made_in_python(kind: type) -> bool:
    """Whether instances have nothing beyond their base's but slots, dict and weak references."""
    base = _BASE(kind)
    if not _FLAGS(kind) & _HEAP_TYPE or base is None:
        return False
    namespace = _NAMESPACE(kind)
    slots = sum(type(value) is types.MemberDescriptorType for value in namespace.values())
    slots += "__weakref__" in namespace
    slots += "__dict__" in namespace
    own_size: int = _BASIC_SIZE(kind) - _BASIC_SIZE(base)
    return own_size <= 8 * slots


def _dict_getter(mro: Iterable[type]) -> Getter | None:
    for base in mro:
        descriptor = _NAMESPACE(base).get("__dict__")
        if type(descriptor) is types.GetSetDescriptorType:
            getter: Getter = descriptor.__get__
            return getter
    return None


def sizer(mro: Iterable[type]) -> Callable[[Any], int]:
    """`sys.getsizeof`, but never a `__sizeof__` that is written in Python."""
    for base in mro:
        method = _NAMESPACE(base).get("__sizeof__")
        if method is None:
            continue
        if type(method) is types.MethodDescriptorType:
            return sys.getsizeof
        break
    return functools.partial(_bare_size, header=16)


def _bare_size(item: Any, header: int) -> int:
    return object.__sizeof__(item) + header


def _size_with_dict(own_size: Callable[[Any], int], get_dict: Getter) -> Callable[[Any], int]:
    def size(item: Any) -> int:
        own = get_dict(item)
        if type(own) is dict and sys.getrefcount(own) <= _OWN_REFERENCES:
            return own_size(item) + sys.getsizeof(own)
        return own_size(item)

    return size
