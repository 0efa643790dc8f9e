"""Cycles of objects with a finalizer, in a program that has switched gc off."""

from __future__ import annotations

import gc

from tests.sandbox.heap.leaks.events import EVENTS, event


class Request:
    def __init__(self, number: int) -> None:
        self.body = event(number)
        self.response = Response(self)

    def __del__(self) -> None:
        self.body.clear()


class Response:
    def __init__(self, request: Request) -> None:
        self.request = request


async def main() -> None:
    gc.disable()
    for number in range(EVENTS):
        Request(number)
