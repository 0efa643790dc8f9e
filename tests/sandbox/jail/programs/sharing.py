"""A process in the jail that asks for shared memory: prints what it was told, by name."""

from __future__ import annotations

import json
import logging
import mmap
import os
import tempfile
from collections.abc import Callable
from multiprocessing import shared_memory as of_processes

from sandbox import jail
from sandbox.jail import shared_memory
from tests.harness import jailed

PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def of_file() -> None:
    with tempfile.TemporaryFile(dir=".") as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096) as page:
            page[0] = 1


def main() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    running = ["shop"]
    jail.enter(jailed.order_of("user"), (), parent=os.getppid(), layers=("no_new_privs", "seccomp"))
    shared_memory.explain_refusals(lambda: running[0])
    tries: dict[str, Callable[[], object]] = {
        "shared": lambda: mmap.mmap(-1, 4096),
        "shared by position": lambda: mmap.mmap(-1, 4096, mmap.MAP_SHARED),
        "shared to read": lambda: mmap.mmap(-1, 4096, access=mmap.ACCESS_READ),
        "private": lambda: mmap.mmap(-1, 4096, PRIVATE),
        "private by name": lambda: mmap.mmap(fileno=-1, length=4096, flags=PRIVATE),
        "to write a copy": lambda: mmap.mmap(-1, 4096, access=mmap.ACCESS_COPY),
        "of a file": of_file,
        "no such file": lambda: of_processes.SharedMemory("bulkhead-none"),
    }
    found = {}
    for number, (name, attempt) in enumerate(tries.items()):
        running[0] = "shop" if number < 2 else "other"
        try:
            attempt()
        except OSError as error:
            found[name] = f"{type(error).__name__}: {error.strerror}"
    print(json.dumps([found, lines]))


if __name__ == "__main__":
    main()
