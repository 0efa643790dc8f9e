"""What the tasks of this worker's loop wait for, as text: each with its chain of awaits.

A task's own stack shows only the coroutine that was started; what it waits for
is found by following what each coroutine or generator awaits, down to a future.
"""

from __future__ import annotations

import asyncio
import linecache
from collections.abc import Iterator
from types import FrameType

#: Tasks that are listed, and awaits of each.
MAX_LISTED_TASKS = 1000
MAX_AWAITS = 64


def text() -> str:
    """All tasks that are not done, by name."""
    found = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    parts = [f"{len(found)} tasks\n"]
    for task in found[:MAX_LISTED_TASKS]:
        parts.append(f"\n{task.get_name()}\n")
        parts += [f"  {line}\n" for line in chain(task)]
    if len(found) > MAX_LISTED_TASKS:
        parts.append(f"\n{len(found) - MAX_LISTED_TASKS} further tasks are not told\n")
    return "".join(parts)


def chain(task: asyncio.Task[object]) -> Iterator[str]:
    """Where a task is, the outermost await first; the last line says what it waits for."""
    awaited: object = task.get_coro()
    for _ in range(MAX_AWAITS):
        frame = _frame(awaited)
        if frame is None:
            break
        yield _place(frame)
        awaited = _awaits(awaited)
    # Private, and the only place that tells; asyncio's own `print_call_graph` reads it too.
    waiter = getattr(task, "_fut_waiter", None)
    match waiter:
        case None:
            yield "ready to run"
        case asyncio.Task():
            yield f"waits for task {waiter.get_name()}"
        case _:
            yield f"waits for a {type(waiter).__name__}"


def _frame(awaited: object) -> FrameType | None:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(awaited, name, None)
        if isinstance(frame, FrameType):
            return frame
    return None


def _awaits(awaited: object) -> object:
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        below: object = getattr(awaited, name, None)
        if below is not None:
            return below
    return None


def _place(frame: FrameType) -> str:
    code = frame.f_code
    line = linecache.getline(code.co_filename, frame.f_lineno).strip()
    place = f"{code.co_qualname} at {code.co_filename}:{frame.f_lineno}"
    return f"{place}: {line}" if line else place
