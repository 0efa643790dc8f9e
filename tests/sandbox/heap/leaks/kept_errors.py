"""Errors that are kept to be told later, and with them all that their frames held."""

from __future__ import annotations

from tests.sandbox.heap.leaks.events import EVENTS, event

ERRORS: list[BaseException] = []


def deliver(number: int) -> None:
    body = event(number)
    raise ConnectionError(len(body))


async def main() -> None:
    for number in range(EVENTS):
        try:
            deliver(number)
        except ConnectionError as error:
            ERRORS.append(error)
