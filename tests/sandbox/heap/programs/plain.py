"""A small heap with nothing odd in it."""

from __future__ import annotations


class Box:
    pass


BOXES = [Box() for _ in range(300)]


async def main() -> None:
    pass
