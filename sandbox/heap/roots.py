"""Where the walk starts: modules, threads, the interpreter itself, tasks, and what is unreached.

A fork has one thread, and its copy of the others' stacks and thread-locals is
thrown away in it, so `capture` takes hold of them in the process that forks.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.heap.strings import function_of, is_instance

#: Threads and frames of each that `capture` looks at.
_MAX_THREADS = 256
_MAX_FRAMES = 128
_CO_OPTIMIZED = 1
#: Where asyncio keeps its tasks: in Python 3.11, and from 3.12 on.
_TASK_SETS = ("_all_tasks", "_scheduled_tasks")
_NAMESPACE = vars(types.ModuleType)["__dict__"].__get__
#: Types that tell nothing of the code that made an object.
_PLAIN = frozenset(
    map(id, (dict, list, tuple, set, types.CellType, types.FrameType, types.TracebackType))
)


@dataclass(frozen=True, slots=True)
class OtherFrame:
    """A frame of a thread that the fork ends: where it is, and its variables."""

    function: str
    variables: dict[str, Any]  # Any: objects of the program that is looked at


@dataclass(frozen=True, slots=True)
class Roots:
    """What only the process that forks can see.

    threads: name and frames, the innermost first, of all threads but the caller's.
    interpreter: what guppy says that the interpreter holds (thread-locals among it), by name;
        empty where guppy does not fit this interpreter.
    """

    threads: tuple[tuple[str, tuple[OtherFrame, ...]], ...]
    interpreter: tuple[tuple[str, object], ...]


def capture() -> Roots:
    """Take hold of what a fork would lose; call it right before the fork. Well under 1 ms."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    threads = []
    for ident, frame in list(sys._current_frames().items())[:_MAX_THREADS]:
        if ident != own:
            name = names.get(ident, f"thread {ident}")
            threads.append((name, tuple(_other_frames(frame))))
    return Roots(tuple(threads), tuple(_interpreter(names)))


def _other_frames(frame: types.FrameType | None) -> Iterator[OtherFrame]:
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return
        if frame.f_code.co_flags & _CO_OPTIMIZED:
            yield OtherFrame(function_of(frame), dict(frame.f_locals))
        frame = frame.f_back


def _interpreter(names: dict[int | None, str]) -> Iterator[tuple[str, object]]:
    try:
        from guppy.heapy import heapyc
        from guppy.sets import immnodeset
    except ImportError:
        return  # releases of guppy fit certain interpreters; the walk says so in its notes
    view = heapyc.HeapView(heapyc.RootState, ())
    for value in view.relimg(immnodeset([heapyc.RootState])):
        if type(value) is types.FrameType:
            continue
        found = view.relate(heapyc.RootState, value)
        name = next((str(each[0]) for each in found if each), "?")
        yield _thread_name(name.removeprefix("i0_"), names), value


def _thread_name(name: str, names: dict[int | None, str]) -> str:
    """`t140_dict` as `thread-locals of MainThread`."""
    kind, _, rest = name.partition("_")
    if not (kind.startswith("t") and kind[1:].isdecimal()):
        return name
    thread = names.get(int(kind[1:]), kind)
    return f"thread-locals of {thread}" if rest == "dict" else f"{rest} of {thread}"


def own_frames(skip: types.FrameType | None) -> Iterator[types.FrameType]:
    """The running frames of the calling thread, from the caller of `skip` outwards."""
    frame = skip.f_back if skip is not None else None
    while frame is not None:
        yield frame
        frame = frame.f_back


def context() -> Iterator[tuple[str, object]]:
    """The context variables of the caller: names and values.

    A variable goes by the name that a module has for it, where one has.
    """
    names: dict[int, str] = {}
    for module_name, module in list(sys.modules.items()):
        # What is put there may be no module; `isinstance` would ask it, and `in` its classes.
        if is_instance(module, types.ModuleType):
            for name, value in _NAMESPACE(module).items():
                if type(value) is contextvars.ContextVar:
                    names.setdefault(id(value), f"{module_name}.{name}")
    for variable, value in contextvars.copy_context().items():
        yield names.get(id(variable), f"<ContextVar {variable.name}>"), value


def tasks() -> list[object]:
    """All asyncio tasks of this process, running or not, of any loop."""
    found: list[object] = []
    for name in _TASK_SETS:
        # `all_tasks` wants a running loop; what it reads are these sets of weak references.
        references = getattr(getattr(asyncio.tasks, name, None), "data", ())
        for reference in list(references):
            task = reference()
            # Its own `done` may be code of the program.
            if is_instance(task, asyncio.Future) and not asyncio.Future.done(task):
                found.append(task)
    return found


def entrances(objects: Iterable[object]) -> list[object]:
    """The same objects in an order in which as few of them as can be are met first.

    First those that none of the others refers to; then, since what is left are cycles, those that
    tell most by their class.
    """
    own = {id(item) for item in objects}
    held: set[int] = set()
    for item in objects:
        held.update(own.intersection(map(id, gc.get_referents(item))))
    return sorted(
        objects,
        key=lambda item: (id(item) in held, id(type(item)) in _PLAIN),
    )


def tracked() -> list[object]:
    """All containers that `gc` knows of and that are not frozen."""
    return gc.get_objects()
