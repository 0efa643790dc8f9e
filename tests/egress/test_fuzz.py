"""A short run of the fuzzer; the long one is `scripts/fuzz-frames`."""

from __future__ import annotations

import subprocess
import sys


def test_hostile_frames() -> None:
    """Some thousand hostile frames cost liars their lives, and the service and others nothing."""
    command = [sys.executable, "-m", "scripts.fuzzing", "--cases", "5000", "--seed", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
