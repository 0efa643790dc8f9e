"""Functions, tasks, keys and modules whose names are objects with code of their own."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any  # as hostile as it gets: what is set has no honest type

from tests.sandbox.heap.programs import hostile_classes


class Text(str):
    """A text that asks to be heard."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        print("asked: __format__", flush=True)
        raise SystemExit(3)

    def __str__(self) -> str:
        print("asked: __str__", flush=True)
        raise SystemExit(3)


def named() -> None:
    """A function whose module and name are none."""


KEYS: dict[object, object] = {hostile_classes.Hostile: hostile_classes.HELD[0], Text("key"): 1}


async def waits() -> None:
    """A task with a name of its own."""
    await asyncio.sleep(3600)


TASKS: list[asyncio.Task[None]] = []


async def main() -> None:
    """Name them, and set the traps."""
    coroutine = waits()
    coroutine.__qualname__ = Text("waits")  # type: ignore[attr-defined]  # it may be set
    TASKS.append(asyncio.get_running_loop().create_task(coroutine))
    await asyncio.sleep(0)
    function: Any = named
    function.__module__ = hostile_classes.Hostile([4])
    function.__qualname__ = Text("named")
    code = compile("def inner():\n    yield 1\nHELD = inner()\nnext(HELD)", "<code>", "exec")
    module = types.ModuleType("strange")
    module.__dict__["__name__"] = hostile_classes.Hostile([5])
    exec(code, module.__dict__)  # noqa: S102  # our own text
    sys.modules["strange"] = module
    await hostile_classes.main()
