"""Nodes in the terms of Python: their class, the path that leads to them, their owners. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

from sandbox.heap.dominators import NONE, ROOT, Dominators
from sandbox.heap.file import Snapshot
from sandbox.heap.v8 import NodeType

#: Longest path that is told whole; of a longer one the middle is left out.
_MAX_STEPS = 40
_MAX_TEXT = 400
#: A key that is written as an attribute where the dict is a namespace.
SUBSCRIPT = re.compile(r"\['([A-Za-z_][A-Za-z0-9_]*)'\]")
_QUALIFIED = re.compile(r"[A-Za-z_][\w.]*")
_ROOT = re.compile(r"(?:<frame |<thread .*: |<context>\[)([\w.<>]+)[\]>]")
#: Prefixes of names that tell a kind of object and then what it is of.
_KINDS = ("coroutine ", "generator ", "async_generator ", "class ", "frame ")
#: Closures that are no functions have their class as their name.
_CALLABLES = frozenset(
    ("method", "builtin_function_or_method", "functools.partial", "functools._lru_cache_wrapper")
)
_NUMBERS = frozenset(("int", "float", "complex"))
#: Top-level modules that every worker has, beside the standard library: never the owner of a leak.
LIBRARIES = frozenset(
    (
        *("aiohttp", "aiohappyeyeballs", "aiosignal", "attr", "attrs", "async_timeout", "certifi"),
        *("cffi", "frozenlist", "guppy", "idna", "msgpack", "msgspec", "multidict", "propcache"),
        *(
            "pycares",
            "aiodns",
            "sandbox",
            "typing_extensions",
            "uvloop",
            "yarl",
            "destinations.kit",
        ),
    )
)


def kind_of(snapshot: Snapshot, node: int) -> str:
    """The class of a node, as tables show it: all texts are `str`, all functions `function`."""
    name = snapshot.name(node)
    match snapshot.node_types[node]:
        case NodeType.STRING:
            return "str"
        case NodeType.NUMBER:
            if name in _NUMBERS:
                return name
            return "int" if name.lstrip("-").isdecimal() else "float"
        case NodeType.CLOSURE:
            return name if name in _CALLABLES else "function"
        case NodeType.CODE:
            return "type" if name.startswith("class ") else "code"
        case NodeType.NATIVE:
            return "bytes" if name.startswith(("<bytes of ", "b'", 'b"')) else name
        case _:  # objects and roots go by their name, which is their class
            return "module" if name.startswith("module ") else name


def path_to(snapshot: Snapshot, ways: Dominators, node: int) -> str:
    """The shortest way from a root to a node, such as `leaky.CACHE['x'][3].body`."""
    edges: list[int] = []
    nodes = [node]
    while node != ROOT and ways.parents[node] != NONE:
        edges.append(ways.parent_edges[node])
        node = ways.parents[node]
        nodes.append(node)
    edges.reverse()
    nodes.reverse()
    steps = [snapshot.edge_name(edge) for edge in edges]
    # The first two lead from the root of all to (GC roots), and on to a module or a group.
    return _join(snapshot, nodes, steps)


def _join(snapshot: Snapshot, nodes: list[int], steps: list[str]) -> str:
    if len(steps) < 2:
        return snapshot.name(nodes[-1]) or "(root)"
    text, rest = steps[1], steps[2:]
    if text in ("(threads)", "(interpreter)", "(tasks)", "(unreached)") and rest:
        if text == "(threads)":
            text = rest[0]
        elif text == "(interpreter)":
            text = f"<{rest[0]}>"
        elif text == "(tasks)":
            text = f"<{snapshot.name(nodes[3])}>"
        else:
            text = f"<unreached {snapshot.name(nodes[3])}>"
        rest = rest[1:]
    if len(rest) > _MAX_STEPS:
        rest = [*rest[: _MAX_STEPS // 2], "...", *rest[-_MAX_STEPS // 2 :]]
    place = 0
    while place < len(rest):
        step = rest[place]
        after = SUBSCRIPT.fullmatch(rest[place + 1]) if place + 1 < len(rest) else None
        if step == "__dict__" and after is not None:
            text += f".{after[1]}"
            place += 2
            continue
        text += step if step.startswith("[") else f".{step}"
        place += 1
    return (
        text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT // 2]}...{text[-_MAX_TEXT // 2 :]}"
    )


def module_of(name: str) -> str | None:
    """The module in the name of a node: of its class, its coroutine or its function."""
    if name.startswith("module "):
        return name.removeprefix("module ")
    if name.startswith(("code ", "<")):
        return None  # these tell no module, or are no names
    for kind in _KINDS:
        name = name.removeprefix(kind)
    if " " in name:
        # A task: its class, and the coroutine that it runs.
        name = name.rpartition(" ")[2]
    if _QUALIFIED.match(name) is None or "." not in name:
        return None
    module = name.partition(".<")[0].rpartition(".")[0]
    # A class inside a class, a method: what begins with a capital is no module.
    parts = module.split(".")
    while parts and parts[-1][:1].isupper():
        parts.pop()
    return ".".join(parts) or None


def module_of_edge(name: str) -> str | None:
    """The module in the name of an edge from a group of roots: of a frame, or of a variable."""
    found = _ROOT.match(name)
    return module_of(found[1]) if found is not None else None


def is_library(module: str) -> bool:
    """Whether a module is the standard library's, or a module that every worker has."""
    top = module.partition(".")[0]
    return (
        top in sys.stdlib_module_names
        or top in LIBRARIES
        or top in ("__main__", "")
        or module.startswith("destinations.kit")
    )


def first_of_a_program(modules: Iterable[str | None]) -> str | None:
    """The first module that is no library's."""
    for module in modules:
        if module is not None and not is_library(module):
            return module
    return None
