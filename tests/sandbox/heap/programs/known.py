"""One object whose place, size and content are known."""

from __future__ import annotations


class Held:
    def __init__(self) -> None:
        self.body = [bytearray(1_000) for _ in range(100)]
        self.name = "a text of which nobody else knows"


PLACE = {"x": [0, Held()]}


async def main() -> None:
    pass
