"""Takes snapshots of small programs the way a worker does: fork, and write in the copy.

Run as a program (`python -m tests.sandbox.heap.taking MODULE FILE OPTIONS`) it imports a
module from `programs`, awaits its `main`, and writes the snapshot; imported, it
starts itself.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import uvloop

from sandbox.heap import snapshot
from sandbox.heap.limits import SnapshotFailed, SnapshotLimits
from sandbox.protocol.limits import TABLES_BYTES
from tests.sandbox.heap.tables import tables

HERE = Path(__file__).parent
#: Where the programs are: shapes to look at, and leaks.
PLACES = (HERE / "programs", HERE / "leaks")
ROOT = Path(__file__).parents[3]
#: The machine may be busy; a snapshot of a small program takes a second.
TIMEOUT_S = 120.0


def take(module: str, path: Path, **options: Any) -> str:
    """Snapshot of `programs/MODULE.py` into `path`; what the copy said of a failure, or "".

    Any: keyword arguments of `snapshot.write`, `limits` as a dict; `room` is
    how many bytes the tables may have.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.heap.taking", module, str(path), json.dumps(options)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def _live(module: str, path: str, options: dict[str, Any]) -> None:
    # Before the program is jailed, as a worker's is.
    room = tables(options.pop("room", 8 * TABLES_BYTES))
    program = importlib.import_module(module)
    await program.main()
    roots = snapshot.capture()
    copy = os.fork()
    if copy == 0:
        try:
            gc.disable()
            limits = SnapshotLimits(**options.pop("limits", {}))
            kind = options.pop("kind", "heapsnapshot")
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            snapshot.write(file, kind, tables=room, limits=limits, roots=roots, **options)
        except SnapshotFailed as error:
            os.write(1, str(error).encode())
        except BaseException:  # noqa: BLE001 - told, and the copy ends here whatever it is
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(copy, 0)  # noqa: ASYNC222 - nothing else is to run meanwhile
    sys.stdout.flush()
    # What the program left behind, threads and tasks that never end, is not waited for.
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    if sys.argv[1] != "no_guppy":
        importlib.import_module("guppy.heapy.View")  # as the zygote does
    sys.path[:0] = map(str, PLACES)
    uvloop.install()
    asyncio.run(_live(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
