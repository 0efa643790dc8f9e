"""A list in a context variable that every request adds to."""

from __future__ import annotations

from contextvars import ContextVar

from tests.sandbox.heap.leaks.events import EVENTS, event

TRACE: ContextVar[list[object]] = ContextVar("trace")


async def main() -> None:
    TRACE.set([])
    for number in range(EVENTS):
        TRACE.get().append(event(number))
