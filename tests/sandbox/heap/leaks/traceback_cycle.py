"""Errors that their own frames refer to, in a program that has switched gc off."""

from __future__ import annotations

import gc

from tests.sandbox.heap.leaks.events import EVENTS, event


def failing(number: int) -> None:
    body = event(number)
    try:
        raise ValueError(body)
    except ValueError as error:
        last = error  # from now on the error's traceback and this frame hold each other
        assert last


async def main() -> None:
    gc.disable()
    for number in range(EVENTS):
        failing(number)
