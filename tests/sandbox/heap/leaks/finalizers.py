"""Finalizers of objects that live on, with arguments of their own."""

from __future__ import annotations

import weakref

from tests.sandbox.heap.leaks.events import EVENTS, event


class Connection:
    pass


CONNECTION = Connection()


def closed(body: object) -> None:
    raise NotImplementedError


async def main() -> None:
    for number in range(EVENTS):
        weakref.finalize(CONNECTION, closed, event(number)).atexit = False
