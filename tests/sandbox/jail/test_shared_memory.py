"""Shared memory in a worker: it is refused, and whoever asks is told what goes in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.harness.jailed import ROOT

INSTEAD = "mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)"


def test_who_asks_for_it_is_told_what_goes(tmp_path: Path) -> None:
    """In the error, and in the log once a connection; private memory and files are mapped."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.jail.programs.sharing"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found, lines = json.loads(done.stdout)
    refused = [name for name, text in found.items() if "rule no-uncounted-memory" in text]
    assert refused == ["shared", "shared by position", "shared to read"]
    assert all(INSTEAD in found[name] for name in refused)
    assert found.pop("no such file").startswith("FileNotFoundError")
    assert len(found) == len(refused)
    assert [INSTEAD in line for line in lines] == [True, True]
