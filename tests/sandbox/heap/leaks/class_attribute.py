"""A dict that all instances share, where each was to have its own."""

from __future__ import annotations

from tests.sandbox.heap.leaks.events import EVENTS, event


class Client:
    answers: dict[str, object] = {}  # noqa: RUF012 - the bug

    def deliver(self, number: int) -> None:
        self.answers[f"user-{number}"] = event(number)


async def main() -> None:
    for number in range(EVENTS):
        Client().deliver(number)
