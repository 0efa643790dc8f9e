"""An HTTP server for tests in a process of its own, so that it shares no interpreter lock.

The server is a module that prints its port once it listens, and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Self


class OwnProcess:
    """`module` run with `arguments`; a context manager. `url` ends in a slash."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()  # closes its input, which ends it
