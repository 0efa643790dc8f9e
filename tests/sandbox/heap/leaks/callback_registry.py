"""Listeners that are added for each batch and never taken away."""

from __future__ import annotations

from collections.abc import Callable

from tests.sandbox.heap.leaks.events import EVENTS, event


class Bus:
    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []


class Batch:
    def __init__(self, number: int) -> None:
        self.events = [event(number)]

    def flushed(self) -> None:
        self.events.clear()


BUS = Bus()


async def main() -> None:
    for number in range(EVENTS):
        BUS.listeners.append(Batch(number).flushed)
