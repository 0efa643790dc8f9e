"""Imports kept code under the names of the files that it was taken from.

Owns that tracebacks, stacks and profiles name the plugin's own files, which somebody can open and
mend, and not the copies that workers import (`supervisor/workers/code.py`). `__file__` is the
copy's, so that a data file beside it is found. Runs in workers only.
"""

from __future__ import annotations

import importlib.util
import linecache
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from typing import Any

#: Largest file in bytes whose lines tracebacks show: they stay in the worker's memory.
MAX_SHOWN = 256 * 1024


def install(kept: Sequence[str], origins: Sequence[str]) -> None:
    """Have the folders `kept` searched for modules, first of all, in their order.

    `origins` are where they were taken from, one each; where there are none, they keep their names.
    """
    places = dict(zip(kept, origins, strict=True)) if origins else {}

    class Loader(SourceFileLoader):
        """Compiles under the original's name."""

        def source_to_code(  # type: ignore[override]  # as importlib itself has it and calls it
            self, data: Any, path: Any, *, _optimize: int = -1
        ) -> Any:
            """Any: the base class's own signature."""
            origin = _origin(str(path), places)
            if isinstance(data, bytes) and len(data) <= MAX_SHOWN:
                # The original cannot be read from a jail, and may be another by now.
                lines = importlib.util.decode_source(data).splitlines(keepends=True)
                linecache.cache[origin] = (len(data), None, lines, origin)
            return super().source_to_code(data, origin)

    def finder(path: str) -> FileFinder:
        if not any(path == root or path.startswith(f"{root}/") for root in places):
            raise ImportError("not kept code")
        return FileFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (Loader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    sys.path_hooks.insert(0, finder)
    sys.path[:0] = kept


def _origin(path: str, places: Mapping[str, str]) -> str:
    for root, origin in places.items():
        if path.startswith(f"{root}/"):
            return f"{origin}{path.removeprefix(root)}"
    return path
