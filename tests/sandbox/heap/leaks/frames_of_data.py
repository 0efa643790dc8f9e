"""Tables by columns, as data frames are, by day."""

from __future__ import annotations

FRAMES: dict[str, dict[str, list[float]]] = {}


async def main() -> None:
    for day in range(50):
        FRAMES[f"day-{day}"] = {
            f"column_{column}": [column + row / 7 for row in range(200)] for column in range(10)
        }
