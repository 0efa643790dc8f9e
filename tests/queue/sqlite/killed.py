"""A process of its own that stops for good at a chosen place, and is killed there.

Must not assert: what holds is for the tests to say.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

#: Put in front of a program: `stop()` says so and never returns.
_STOP = """
import signal
def stop(*_, **__):
    print("stopped", flush=True)
    signal.pause()
"""


def kill_at_stop(program: str, *arguments: str) -> None:
    """Run a Python program until it calls `stop()`, then SIGKILL it."""
    with subprocess.Popen(
        [sys.executable, "-c", _STOP + program, *arguments],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        while said and said != "stopped\n":  # log lines
            said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert said == "stopped\n", "the program ended before it came to stop()"
