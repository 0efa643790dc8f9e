"""No folder is walked by recursion where a worker may have written."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Rooms whose code runs in processes that look after workers, or in a worker.
ROOMS = ("app", "delivery", "diagnostics", "dryrun", "queue", "state", "workers")
_RECURSIVE = re.compile(r"\b(rmtree|TemporaryDirectory|os\.walk|fwalk|rglob)\(")


def test_no_folder_is_walked_by_recursion() -> None:
    """What a worker nests deeper than Python goes would end the process, and each later start."""
    files = [file for room in ROOMS for file in (ROOT / "supervisor" / room).rglob("*.py")]
    files += (ROOT / "sandbox").rglob("*.py")
    found = [
        f"{file.relative_to(ROOT)}: {match[1]}: see supervisor/workers/resources/removal.py"
        for file in files
        for match in _RECURSIVE.finditer(file.read_text())
    ]
    assert not found
