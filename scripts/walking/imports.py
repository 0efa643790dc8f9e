"""Who imports whom: the modules of a checkout as a graph, and its shape.

Owns reading imports from the source and what is computed from them. Nothing is
imported to find out, so that any checkout can be read. Must not print.

An import counts wherever it stands, in a function too; what stands under
`if TYPE_CHECKING:` counts apart, since it ties two modules for the reader only. An
import of a name from a package counts for the package, an import of a module of it
for the module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Module to the modules that it imports.
Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its text, its tree, and which modules of the same checkout it imports."""

    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: frozenset[str]
    """When it runs."""
    typing_imports: frozenset[str]
    """For the type checker only."""
    is_package: bool

    @property
    def lines(self) -> int:
        """Lines of the file, blank ones and comments included."""
        return self.text.count("\n")

    @property
    def package(self) -> str:
        """The package that it lies in; a package's own name for its `__init__`."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def read(root: Path, packages: Iterable[str]) -> dict[str, Module]:
    """All modules of these folders of a checkout, by name. Raises SyntaxError."""
    paths = {
        _name(root, path): path
        for package in packages
        for path in sorted((root / package).rglob("*.py"))
        # Some packages of npm hold Python, too.
        if "node_modules" not in path.parts
    }
    return {name: _module(name, path, paths.keys()) for name, path in paths.items()}


def _name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, path: Path, known: Iterable[str]) -> Module:
    text = path.read_text()
    tree = ast.parse(text, str(path))
    is_package = path.name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    typing = {id(node) for block in _typing_blocks(tree) for node in ast.walk(block)}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found[id(node) in typing] |= set(_named(node, package, frozenset(known))) - {name}
    return Module(
        name=name,
        path=path,
        text=text,
        tree=tree,
        imports=frozenset(found[False]),
        typing_imports=frozenset(found[True] - found[False]),
        is_package=is_package,
    )


def _typing_blocks(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from node.body


def _named(node: ast.Import | ast.ImportFrom, package: str, known: frozenset[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
        return
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, base]).rstrip(".")
    for alias in node.names:
        for name in (f"{base}.{alias.name}", base):
            if name in known:
                yield name
                break


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rooms of one package hang together; a room is a module or a package in it.

    The type checker's imports count: whoever reads has to follow them, too. `floors` is the
    number of rooms in the longest chain of arrows, rooms in a circle counted as one floor.
    """

    package: str
    rooms: int
    floors: int
    arrows: int
    circles: tuple[tuple[str, ...], ...]


def shape(modules: Mapping[str, Module], package: str) -> Shape:
    """The rooms of a package, and the arrows between them."""
    found = rooms(modules, package)
    return Shape(
        package=package,
        rooms=len(found),
        floors=floors(found),
        arrows=sum(map(len, found.values())),
        circles=cycles(found),
    )


def rooms(modules: Mapping[str, Module], package: str) -> Arrows:
    """Room to the other rooms of the same package that its modules import.

    The package's own `__init__` is a room where it imports or defines more than a constant; its
    `__main__` is none, since it is the door to all of them.
    """
    found: dict[str, set[str]] = {}
    for module in modules.values():
        if (room := _room(module.name, package)) is None:
            continue
        if module.name == f"{package}.__main__" or (module.name == package and _is_bare(module)):
            continue
        targets = module.imports | module.typing_imports
        below = {_room(target, package) for target in targets} - {None, room}
        found.setdefault(room, set()).update(filter(None, below))
    return {room: frozenset(below & found.keys()) for room, below in found.items()}


def _is_bare(module: Module) -> bool:
    defined = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return not module.imports and not any(isinstance(node, defined) for node in module.tree.body)


def _room(module: str, package: str) -> str | None:
    if module == package:
        return package
    if not module.startswith(f"{package}."):
        return None
    return f"{package}.{module.removeprefix(f'{package}.').split('.')[0]}"


def arrows(modules: Mapping[str, Module], *, with_typing: bool) -> Arrows:
    """Module to the modules that it imports."""
    return {
        name: module.imports | (module.typing_imports if with_typing else frozenset())
        for name, module in modules.items()
    }


def cycles(graph: Arrows) -> tuple[tuple[str, ...], ...]:
    """The groups of nodes that reach each other, sorted; strongly connected components."""
    return tuple(sorted(tuple(sorted(one)) for one in _components(graph) if len(one) > 1))


def floors(graph: Arrows) -> int:
    """Length of the longest chain, in nodes; a cycle is one node."""
    heights: dict[str, int] = {}
    # Components come after all that they reach.
    for component in _components(graph):
        below = {target for node in component for target in graph[node]} - set(component)
        height = 1 + max((heights[target] for target in below), default=0)
        heights |= dict.fromkeys(component, height)
    return max(heights.values(), default=0)


@dataclass(slots=True)
class _Search:
    """Where Tarjan's search for strongly connected components stands."""

    graph: Arrows
    order: dict[str, int] = field(default_factory=dict)
    low: dict[str, int] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    found: list[list[str]] = field(default_factory=list)

    def visit(self, node: str) -> None:
        """Everything that is reached from here; chains of imports are short enough to recurse."""
        self.order[node] = self.low[node] = len(self.order)
        self.path.append(node)
        for target in sorted(self.graph[node]):
            if target not in self.order:
                self.visit(target)
                self.low[node] = min(self.low[node], self.low[target])
            elif target in self.path:
                self.low[node] = min(self.low[node], self.order[target])
        if self.low[node] == self.order[node]:
            at = self.path.index(node)
            self.found.append(self.path[at:])
            del self.path[at:]


def _components(graph: Arrows) -> Sequence[Sequence[str]]:
    search = _Search(graph)
    for node in sorted(graph):
        if node not in search.order:
            search.visit(node)
    return search.found
