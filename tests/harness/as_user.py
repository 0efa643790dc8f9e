"""Runs Bulkhead as an ordinary user, from root: `python -m tests.harness.as_user COMMAND...`.

The checkout and Python may lie where only root can search; this user is shown them.
"""

from __future__ import annotations

import os
import sys

from sandbox.jail import openings, paths
from tests.harness.jailed import ORDINARY_UID, ROOT


def main() -> None:
    """Become that user, and then the program."""
    openings.open_up((*paths.code(), sys.base_prefix, str(ROOT)))
    os.setgroups([])
    os.setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
    os.setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "supervisor", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
