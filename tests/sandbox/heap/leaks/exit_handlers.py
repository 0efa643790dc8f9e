"""Work for the exit of the process, kept by the interpreter's own C code."""

from __future__ import annotations

import atexit

from tests.sandbox.heap.leaks.events import EVENTS, event


def flush(body: object) -> None:
    raise NotImplementedError


async def main() -> None:
    for number in range(EVENTS):
        atexit.register(flush, event(number))
