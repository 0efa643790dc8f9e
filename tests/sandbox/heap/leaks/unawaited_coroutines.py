"""Coroutines that were made and never awaited."""

from __future__ import annotations

from collections.abc import Coroutine

from tests.sandbox.heap.leaks.events import EVENTS, event


class Outbox:
    def __init__(self) -> None:
        self.pending: list[Coroutine[object, object, None]] = []

    async def send(self, body: object) -> None:
        raise NotImplementedError


OUTBOX = Outbox()


async def main() -> None:
    for number in range(EVENTS):
        OUTBOX.pending.append(OUTBOX.send(event(number)))
