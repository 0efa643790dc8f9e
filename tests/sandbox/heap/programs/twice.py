"""Takes a snapshot of itself before the one that is asked for."""

from __future__ import annotations

import os
import sys

from sandbox.heap import snapshot
from tests.sandbox.heap.tables import tables


class Thing:
    pass


KEPT = [Thing()]


async def main() -> None:
    roots = snapshot.capture()
    copy = os.fork()
    if copy == 0:
        path = sys.argv[2] + ".before"
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        snapshot.write(file, "heapsnapshot", tables=tables(), roots=roots)
        os._exit(0)
    os.waitpid(copy, 0)  # noqa: ASYNC222 - nothing else is to run meanwhile
    KEPT.append(Thing())
