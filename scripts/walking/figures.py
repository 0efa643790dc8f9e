"""What is measured of a checkout without running it: sizes, maintainability, names, layers.

Owns the figures of `scripts/walk structure`. Must not print, and imports nothing
of what it measures.
"""

from __future__ import annotations

import ast
import io
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radon.metrics import mi_visit

from scripts.walking.imports import Module, Shape, arrows, cycles, read, shape

#: What a checkout has of code that runs at its user's.
PRODUCTION = ("supervisor", "sandbox", "destinations")
#: Lines past which modules are counted.
SIZES = (500, 400, 300)
#: The least maintainability index of radon's grade A.
GRADE_A = 19.0
#: Packages with fewer rooms have no shape worth a row.
_LEAST_ROOMS = 5


@dataclass(frozen=True, slots=True)
class Structure:
    """All figures of a checkout."""

    modules: int
    shapes: tuple[Shape, ...]
    upward: tuple[str, ...] | None
    """Imports against the layers that import-linter is told of; None where there are none."""
    running_cycles: tuple[tuple[str, ...], ...]
    typing_cycles: tuple[tuple[str, ...], ...]
    """Those that there are only with what is imported for the type checker."""
    larger: Mapping[int, int]
    """Number of modules with more lines than each of `SIZES`."""
    unmaintainable: Mapping[str, float]
    """Maintainability index (0 to 100) of the modules that are not of grade A."""
    shared_names: Mapping[str, tuple[str, ...]]
    """Names of public classes that several modules define, and which."""
    words: Mapping[str, tuple[int, int]]
    """How many identifiers have a word in them, and in how many modules."""


def structure(root: Path, words: Iterable[str]) -> Structure:
    """Read a checkout and measure it."""
    modules = read(root, PRODUCTION)
    running = cycles(arrows(modules, with_typing=False))
    return Structure(
        modules=len(modules),
        shapes=tuple(_shapes(modules)),
        upward=upward(modules, root / "pyproject.toml"),
        running_cycles=running,
        typing_cycles=tuple(
            cycle for cycle in cycles(arrows(modules, with_typing=True)) if cycle not in running
        ),
        larger={size: sum(one.lines > size for one in modules.values()) for size in SIZES},
        unmaintainable=unmaintainable(modules.values()),
        shared_names=shared_names(modules.values()),
        words={word: _identifiers(modules.values(), word.lower()) for word in words},
    )


def _shapes(modules: Mapping[str, Module]) -> Iterator[Shape]:
    for module in modules.values():
        if module.is_package and module.name.split(".")[0] != "destinations":
            found = shape(modules, module.name)
            if found.rooms >= _LEAST_ROOMS:
                yield found


def unmaintainable(modules: Iterable[Module]) -> dict[str, float]:
    """Modules below grade A, with radon's maintainability index; the worst first."""
    indices = {one.name: float(mi_visit(one.text, multi=True)) for one in modules}
    worst = sorted(indices.items(), key=lambda item: item[1])
    return {name: round(index, 1) for name, index in worst if index <= GRADE_A}


def public_classes(modules: Iterable[Module]) -> dict[str, tuple[str, ...]]:
    """Name of a class at the top of a module, without those of the module's own, to its modules."""
    found: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module.name)
    return {name: tuple(sorted(homes)) for name, homes in sorted(found.items())}


def shared_names(modules: Iterable[Module]) -> dict[str, tuple[str, ...]]:
    """Those public classes whose name several modules define; the most often used first."""
    shared = [(name, homes) for name, homes in public_classes(modules).items() if len(homes) > 1]
    return dict(sorted(shared, key=lambda item: -len(item[1])))


def _identifiers(modules: Iterable[Module], word: str) -> tuple[int, int]:
    counts = [
        sum(
            token.type == tokenize.NAME and word in token.string.lower()
            for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
        )
        for module in modules
    ]
    return sum(counts), sum(count > 0 for count in counts)


def upward(modules: Mapping[str, Module], pyproject: Path) -> tuple[str, ...] | None:
    """Imports of a higher layer, `LOWER -> HIGHER`; what import-linter is to ignore included."""
    settings = tomllib.loads(pyproject.read_text()).get("tool", {}).get("importlinter", {})
    contracts = [one for one in settings.get("contracts", ()) if one.get("type") == "layers"]
    if not contracts:
        return None
    found = []
    graph = arrows(modules, with_typing=True)
    for contract in contracts:
        for container in contract.get("containers") or [""]:
            levels = list(_levels(contract, container))
            for name, targets in graph.items():
                level = _level(name, levels)
                found += [
                    f"{name} -> {target}"
                    for target in sorted(targets)
                    if level is not None and (_level(target, levels) or 0) > level
                ]
    return tuple(dict.fromkeys(found))


def _levels(contract: Mapping[str, Any], container: str) -> Iterator[tuple[str, int]]:  # Any: TOML
    """Module to its level, the lowest being 1."""
    layers: Sequence[str] = contract["layers"]
    for level, layer in enumerate(reversed(layers), 1):
        for name in layer.replace("|", ":").split(":"):
            bare = name.strip().strip("()")
            yield (f"{container}.{bare}" if container else bare), level


def _level(module: str, levels: Sequence[tuple[str, int]]) -> int | None:
    return next(
        (level for name, level in levels if module == name or module.startswith(f"{name}.")), None
    )
