"""What the interpreter's own types refer to: containers, functions, coroutines, frames, tasks.

The names of edges are written as Python would: `['x']` for a key, `__closure__['x']`
for a cell, `cr_frame.f_locals['x']` for a local variable of a coroutine.
"""

from __future__ import annotations

import _asyncio
import array
import collections
import contextvars
import functools
import gc
import itertools
import re
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from sandbox.heap.plans import PART, Edge, Edges, Plans
from sandbox.heap.strings import Strings, function_of, module_of, plain, qualified
from sandbox.heap.v8 import EdgeType, NodeType

_NAMESPACE = type.__dict__["__dict__"].__get__
_BASES = type.__dict__["__bases__"].__get__
_MRO = type.__dict__["__mro__"].__get__
_CO_OPTIMIZED = 1
_FRAMES = (
    (types.CoroutineType, "cr_frame"),
    (types.GeneratorType, "gi_frame"),
    (types.AsyncGeneratorType, "ag_frame"),
)


def plans_with_builtin(strings: Strings) -> Plans:
    """Plans that know all types of the interpreter that are known here."""
    plans = Plans(strings)
    _add_leaves(plans)
    _add_containers(plans)
    _add_code(plans)
    _add_classes(plans)
    _add_running(plans)
    plans.builtin_are_known()
    return plans


def _add_leaves(plans: Plans) -> None:
    value = plans.strings.value
    plans.add(str, NodeType.STRING, None, value)
    for kind in (bytes, bytearray):
        plans.add(kind, NodeType.NATIVE, None, value if kind is bytes else None)
    for number in (int, float, complex):
        plans.add(number, NodeType.NUMBER, None, None if number is complex else value)
    for native in (range, slice, array.array):
        plans.add(native, NodeType.NATIVE, None if native is array.array else gc_edges(plans))
    plans.add(re.Pattern, NodeType.NATIVE, gc_edges(plans))


def gc_edges(plans: Plans) -> Edges:
    """The references that `gc` knows of, named by the type of what they lead to."""

    def edges(item: object) -> Iterator[Edge]:
        for value in gc.get_referents(item):
            yield plans.unnamed(value), value

    return edges


def _add_containers(plans: Plans) -> None:
    strings, edge = plans.strings, plans.edge
    table, named = strings.table, EdgeType.PROPERTY << 29
    key_edge = edge(EdgeType.INTERNAL, "<key>")
    item_edge = edge(EdgeType.INTERNAL, "<item>")
    key_text, number = strings.key, strings.number

    def dict_edges(item: dict[object, object]) -> Iterator[Edge]:
        size = dict.__len__(item)
        for key, value in dict.items(item):
            text = key_text(key, size)
            yield named | (table.get(text) or number(text)), value
            yield key_edge, key

    def sequence_edges(item: Iterable[object]) -> Iterable[Edge]:
        return zip(range(EdgeType.ELEMENT << 29, EdgeType.PROPERTY << 29), item, strict=False)

    def list_edges(item: list[object]) -> Iterable[Edge]:
        return sequence_edges(list.__iter__(item))

    def tuple_edges(item: tuple[object, ...]) -> Iterable[Edge]:
        return sequence_edges(tuple.__iter__(item))

    def deque_edges(item: collections.deque[object]) -> Iterable[Edge]:
        return sequence_edges(collections.deque.__iter__(item))

    def set_edges(item: set[object]) -> Iterable[Edge]:
        return zip(itertools.repeat(item_edge), set.__iter__(item))

    def frozenset_edges(item: frozenset[object]) -> Iterable[Edge]:
        return zip(itertools.repeat(item_edge), frozenset.__iter__(item))

    factory_edge = plans.attribute("default_factory")
    get_factory = collections.defaultdict.__dict__["default_factory"].__get__

    def defaultdict_edges(item: collections.defaultdict[object, object]) -> Iterator[Edge]:
        yield factory_edge, get_factory(item)
        yield from dict_edges(item)

    plans.add(dict, NodeType.OBJECT, dict_edges)
    plans.add(collections.defaultdict, NodeType.OBJECT, defaultdict_edges)
    plans.add(list, NodeType.OBJECT, list_edges)
    plans.add(tuple, NodeType.OBJECT, tuple_edges)
    plans.add(collections.deque, NodeType.OBJECT, deque_edges)
    plans.add(set, NodeType.OBJECT, set_edges)
    plans.add(frozenset, NodeType.OBJECT, frozenset_edges)

    def proxy_edges(item: types.MappingProxyType[object, object]) -> Iterator[Edge]:
        for value in gc.get_referents(item):
            yield edge(EdgeType.INTERNAL, "<mapping>"), value

    plans.add(types.MappingProxyType, NodeType.OBJECT, proxy_edges)

    def context_edges(item: contextvars.Context) -> Iterator[Edge]:
        for variable, value in item.items():
            yield edge(EdgeType.PROPERTY, f"[<ContextVar {strings.name(variable.name)}>]"), value
            yield key_edge, variable

    plans.add(contextvars.Context, NodeType.OBJECT, context_edges)


def members(plans: Plans, *names: str) -> Edges:
    """The references in attributes of C, which hold either an object or None."""
    pairs = [(plans.attribute(name), name) for name in names]

    def edges(item: object) -> Iterator[Edge]:
        for code, name in pairs:
            yield code, getattr(item, name)

    return edges


def _add_code(plans: Plans) -> None:
    strings, edge = plans.strings, plans.edge
    function_members = members(
        plans, "__globals__", "__code__", "__defaults__", "__kwdefaults__", "__closure__"
    )
    get_dict = types.FunctionType.__dict__["__dict__"].__get__
    closure_edges: dict[str, int] = {}
    rest_edge = edge(EdgeType.INTERNAL, "<tuple>")

    def function_edges(item: types.FunctionType) -> Iterator[Edge]:
        yield from function_members(item)
        for name, cell in zip(item.__code__.co_freevars, item.__closure__ or (), strict=False):
            code = closure_edges.get(name)
            if code is None:
                code = edge(EdgeType.CONTEXT, f"__closure__[{strings.attribute(name)!r}]")
                closure_edges[name] = code
            yield code, cell
        own = get_dict(item)
        yield PART, own
        for name, value in own.items():
            yield plans.attribute(name), value
        for value in gc.get_referents(item):
            # Annotations as they are stored, before somebody asks for them.
            if type(value) is tuple:
                yield rest_edge, value

    def function_name(item: types.FunctionType) -> int:
        return strings.number(strings.name(f"{plain(item.__module__)}.{plain(item.__qualname__)}"))

    def code_name(item: types.CodeType) -> int:
        return strings.number(strings.name(f"code {item.co_qualname}"))

    def cell_edges(item: types.CellType) -> Iterator[Edge]:
        for value in gc.get_referents(item):
            yield contents_edge, value

    contents_edge = plans.attribute("cell_contents")
    plans.add(types.FunctionType, NodeType.CLOSURE, function_edges, function_name)
    code_members = members(plans, "co_consts", "co_names", "co_filename", "co_name", "co_qualname")
    plans.add(types.CodeType, NodeType.CODE, code_members, code_name)
    plans.add(types.CellType, NodeType.OBJECT, cell_edges)
    plans.add(types.MethodType, NodeType.CLOSURE, members(plans, "__self__", "__func__"))
    plans.add(types.BuiltinFunctionType, NodeType.CLOSURE, members(plans, "__self__"))
    plans.add(property, NodeType.OBJECT, members(plans, "fget", "fset", "fdel", "__doc__"))
    for wrapper in (staticmethod, classmethod):
        plans.add(wrapper, NodeType.OBJECT, members(plans, "__func__"))
    partial_members = members(plans, "func", "args", "keywords")
    plans.add(functools.partial, NodeType.CLOSURE, partial_members)

    cache_edge = edge(EdgeType.PROPERTY, "<cache>")

    def cache_edges(item: Any) -> Iterator[Edge]:
        own = item.__dict__
        yield PART, own
        for name, value in own.items():
            yield plans.attribute(name), value
        # What it keeps, it shows to `gc` itself: the links of its list cannot.
        for value in gc.get_referents(item):
            if value is not own:
                yield cache_edge, value

    cache_type = type(functools.lru_cache(maxsize=1)(_add_code))
    plans.add(cache_type, NodeType.CLOSURE, cache_edges)

    def weak_edges(item: weakref.ref[object]) -> Iterator[Edge]:
        yield weak_edge, item()
        for value in gc.get_referents(item):
            yield callback_edge, value

    weak_edge = edge(EdgeType.WEAK, "<referent>")
    callback_edge = plans.attribute("__callback__")
    plans.add(weakref.ref, NodeType.NATIVE, weak_edges)


def _add_classes(plans: Plans) -> None:
    strings, edge = plans.strings, plans.edge
    namespace_edge = plans.attribute("__dict__")

    def class_edges(item: type) -> Iterator[Edge]:
        yield namespace_edge, gc.get_referents(_NAMESPACE(item))[0]
        yield bases_edge, _BASES(item)
        yield mro_edge, _MRO(item)
        yield metaclass_edge, type(item)

    def class_name(item: type) -> int:
        return strings.number(f"class {qualified(item)}")

    bases_edge = edge(EdgeType.INTERNAL, "__bases__")
    mro_edge = edge(EdgeType.INTERNAL, "__mro__")
    metaclass_edge = edge(EdgeType.INTERNAL, "__class__")
    plans.add(type, NodeType.CODE, class_edges, class_name, type.__sizeof__)

    get_namespace = _NAMESPACE(types.ModuleType)["__dict__"].__get__

    def module_edges(item: types.ModuleType) -> Iterator[Edge]:
        yield namespace_edge, get_namespace(item)

    def module_name(item: types.ModuleType) -> int:
        return strings.number(f"module {strings.name(get_namespace(item).get('__name__'))}")

    plans.add(types.ModuleType, NodeType.OBJECT, module_edges, module_name)

    names = ("args", "__traceback__", "__cause__", "__context__")
    getters = [(plans.attribute(name), BaseException.__dict__[name].__get__) for name in names]

    def exception_edges(item: BaseException) -> Iterator[Edge]:
        for code, get in getters:
            yield code, get(item)

    plans.add(BaseException, NodeType.OBJECT, exception_edges)


def _add_running(plans: Plans) -> None:
    """Coroutines, generators, frames, tracebacks, futures and tasks."""
    for kind, prefix in (
        (types.CoroutineType, "cr"),
        (types.GeneratorType, "gi"),
        (types.AsyncGeneratorType, "ag"),
    ):
        _add_generator(plans, kind, prefix)
    strings, edge = plans.strings, plans.edge

    def frame_edges(item: types.FrameType) -> Iterator[Edge]:
        referents = gc.get_referents(item)
        # A frame that runs, or ran in a thread that this copy does not have, shows `gc` nothing;
        # its variables may be gone, and `roots` has told those that are not.
        if any(value is item.f_code for value in referents):
            yield from frame_variables(plans, item, "f_locals", strings)
            yield edge(EdgeType.PROPERTY, "f_back"), item.f_back

    def frame_name(item: types.FrameType) -> int:
        return strings.number(strings.name(f"frame {function_of(item)}"))

    plans.add(types.FrameType, NodeType.OBJECT, frame_edges, frame_name)
    plans.add(types.TracebackType, NodeType.OBJECT, members(plans, "tb_frame", "tb_next"))

    future_names = ("_result", "_exception", "_callbacks", "_loop", "_cancel_message")
    future_edges = _with_rest(plans, members(plans, *future_names))
    plans.add(_asyncio.Future, NodeType.OBJECT, future_edges)
    task_edges = _with_rest(plans, members(plans, "_coro", "_fut_waiter", *future_names))

    def task_name(item: Any) -> int:
        return strings.number(strings.name(f"{qualified(type(item))} {coroutine_name(item._coro)}"))

    plans.add(_asyncio.Task, NodeType.OBJECT, task_edges, task_name)


def coroutine_name(coroutine: object) -> str:
    """`module.function` of a coroutine or generator; of whatever else is awaited, its class."""
    for kind, frame_name in _FRAMES:
        if type(coroutine) is kind:
            frame = getattr(coroutine, frame_name)
            name = plain(getattr(coroutine, "__qualname__", None))
            return name if frame is None else f"{module_of(frame)}.{name}"
    return qualified(type(coroutine))


def frame_variables(
    plans: Plans, frame: types.FrameType, prefix: str, strings: Strings
) -> Iterator[Edge]:
    """The local variables of a frame whose memory is there."""
    if not frame.f_code.co_flags & _CO_OPTIMIZED:
        yield plans.edge(EdgeType.PROPERTY, prefix), frame.f_locals
        return
    for name, value in frame.f_locals.items():
        text = f"{prefix}[{strings.attribute(name)!r}]"
        yield plans.edge(EdgeType.CONTEXT, text), value
    if frame.f_code.co_name == "<module>":
        yield plans.attribute("f_globals"), frame.f_globals


def _add_generator(plans: Plans, kind: type, prefix: str) -> None:
    strings, edge = plans.strings, plans.edge
    frame_name, code_name = f"{prefix}_frame", f"{prefix}_code"
    await_name = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}[prefix]
    await_edge = plans.attribute(await_name)
    code_edge = plans.attribute(code_name)
    rest_edge = edge(EdgeType.INTERNAL, f"{frame_name}.<stack>")
    locals_name = f"{frame_name}.f_locals"

    def edges(item: Any) -> Iterator[Edge]:
        told = {id(item)}
        frame = getattr(item, frame_name)
        awaited = getattr(item, await_name)
        if awaited is not None:
            told.add(id(awaited))
            yield await_edge, awaited
        if frame is not None:
            told.update((id(frame), id(frame.f_globals), id(frame.f_builtins)))
            for code, value in frame_variables(plans, frame, locals_name, strings):
                told.add(id(value))
                yield code, value
            if frame.f_code.co_flags & _CO_OPTIMIZED:
                told.add(id(frame.f_locals))  # made by asking for it, a moment ago
        for value in gc.get_referents(item):
            if id(value) not in told:
                told.add(id(value))
                yield (code_edge if type(value) is types.CodeType else rest_edge), value

    def name(item: Any) -> int:
        return strings.number(strings.name(f"{kind.__name__} {coroutine_name(item)}"))

    plans.add(kind, NodeType.OBJECT, edges, name)


def _with_rest(plans: Plans, known: Edges) -> Edges:
    """What is known by name, and what else `gc` sees."""

    def edges(item: object) -> Iterator[Edge]:
        told = set()
        referents = gc.get_referents(item)
        seen = {id(value) for value in referents}
        for code, value in known(item):
            if id(value) in seen:
                told.add(id(value))
                yield code, value
        for value in referents:
            if id(value) not in told:
                yield plans.unnamed(value), value

    return edges
