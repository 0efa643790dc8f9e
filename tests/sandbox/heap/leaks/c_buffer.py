"""A buffer that lies in the memory of C code, and that only its owner knows the size of."""

from __future__ import annotations

import io

from tests.sandbox.heap.leaks.events import EVENTS


class Spool:
    def __init__(self) -> None:
        self.buffer = io.BytesIO()


SPOOLS = {"eu": Spool()}


async def main() -> None:
    for _ in range(EVENTS):
        SPOOLS["eu"].buffer.write(bytes(2_000))
