"""Files that somebody named."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from supervisor.runtime.files import read_file

#: select(2) knows none from here on.
SELECTS = 1024


def test_a_process_with_thousands_of_descriptors_reads_files(tmp_path: Path) -> None:
    """A service with many clients reads its config at a reload like any other."""
    path = tmp_path / "config.toml"
    path.write_text("all")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(SELECTS + 256, before[1]), before[1]))
    held: list[int] = []
    try:
        with path.open() as file:
            while not held or held[-1] < SELECTS:
                held.append(os.dup(file.fileno()))
        assert read_file(path, most_bytes=10) == b"all"
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
