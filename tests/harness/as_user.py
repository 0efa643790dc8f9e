"""Runs Bulkhead as an ordinary user, from root: `python -m tests.harness.as_user COMMAND...`.

The checkout and Python may lie where only root can search; this user is shown them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.jail import openings, paths
from tests.harness.jailed import ORDINARY_UID, ROOT
from tests.harness.service import RunningService

#: What is run in the place of `bulkhead`: as whoever runs the test, and as an ordinary user.
MODULES = ("supervisor", "tests.harness.as_user")


@contextmanager
def running_as(
    module: str, folder: Path, sections: Mapping[str, Mapping[str, object]]
) -> Iterator[RunningService]:
    """A service in `folder`, which other users may enter, run by one of `MODULES`."""
    if module != MODULES[0] and os.geteuid() != 0:
        pytest.skip("becomes an ordinary user")
    service = RunningService(folder / "service", sections, module=module)
    service.directory.mkdir()
    if module != MODULES[0]:
        hand_over(service.directory)
    try:
        yield service.start()
    finally:
        service.kill()


def hand_over(folder: Path) -> None:
    """Give a folder of a test, and all in it, to that user."""
    owner = f"{ORDINARY_UID}:{ORDINARY_UID}"
    # Not by walking it here: it may be nested deeper than Python goes.
    subprocess.run(["chown", "-R", "-h", owner, str(folder)], check=True)


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
