"""Takes a snapshot of itself, then lets a list grow by some megabytes."""

from __future__ import annotations

import os
import sys

from sandbox.heap import snapshot
from tests.sandbox.heap.tables import tables


class Row:
    def __init__(self, number: int) -> None:
        self.body = bytearray(1_000)
        self.number = number


CACHE: dict[str, list[Row]] = {"rows": []}


async def main() -> None:
    roots = snapshot.capture()
    copy = os.fork()
    if copy == 0:
        file = os.open(sys.argv[2].replace(".heapsnapshot", ".before"), os.O_WRONLY | os.O_CREAT)
        snapshot.write(file, "heapsnapshot", tables=tables(), roots=roots)
        os._exit(0)
    os.waitpid(copy, 0)  # noqa: ASYNC222 - nothing else is to run meanwhile
    CACHE["rows"] += [Row(number) for number in range(8_000)]
