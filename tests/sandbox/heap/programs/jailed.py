"""A worker in its jail whose memory is used up to the soft limit."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from sandbox import jail
from sandbox.protocol import Limits, Spawn, Withheld

LIMIT_BYTES = 24 << 20
ROWS: list[dict[str, object]] = []


async def main() -> None:
    limits = Limits(LIMIT_BYTES, LIMIT_BYTES, 256, 1.0)
    folder = str(Path(sys.argv[2]).parent)
    withheld = Withheld("a test")
    order = Spawn(
        child=1,
        label="default-1",
        destinations=[],
        plugin_paths=[],
        limits=limits,
        profile="strict",
        ca_file=None,
        declare=False,
        uid=withheld,
        cgroup=withheld,
        scratch=withheld,
        write_paths=[folder],
    )
    layers = ("rlimits", "no_new_privs", "landlock", "seccomp")
    report = jail.enter(order, (), parent=os.getppid(), layers=layers)
    assert report["seccomp"] == report["rlimits"] == "on", report
    try:
        while True:
            ROWS.append({"number": len(ROWS), "text": f"row {len(ROWS)}" * 2})
    except MemoryError:
        # As a worker does that wants to leave evidence.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
