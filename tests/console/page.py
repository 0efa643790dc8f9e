"""The page's files, as its tests look at them.

Must not hold what the page is about: it knows files and how they import each other.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "supervisor" / "console" / "static"
#: Packages of npm that make and check the page; `./scripts/test setup` installs them.
VENDORING = ROOT / "scripts" / "vendoring"
#: What scripts/vendor-console makes.
VENDORED = ("vendor.js", "vendor.css", "vendor.d.ts", "THIRD_PARTY.txt")
#: Suffixes that a browser asks for; types are for the check alone.
SERVED = (".html", ".css", ".js", ".txt")

_IMPORT = re.compile(r"""(?:\bfrom|\bimport\()\s*'(\.{1,2}/[^']+\.js)'""")
_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*|\s//\s[^\n]*", re.S | re.M)
#: Seconds that a check of all files may take on a busy machine.
PATIENCE_S = 300


def own(*suffixes: str) -> list[Path]:
    """Files that we wrote, with one of these suffixes."""
    return sorted(
        path
        for path in STATIC.rglob("*")
        if path.suffix in suffixes and path.name not in VENDORED and not path.name.endswith(".d.ts")
    )


def code(path: Path) -> str:
    """A module without its comments, in which types are named and links stand."""
    return _COMMENT.sub("", path.read_text())


def imports(path: Path, *, lazy: bool) -> set[Path]:
    """Modules that one imports at once, or those that it may import later, by their own paths."""
    found = set()
    for match in _IMPORT.finditer(code(path)):
        if match[0].startswith("import(") is lazy:
            found.add((path.parent / match[1]).resolve())
    return found


def needed(start: Path) -> set[Path]:
    """What a browser loads before a module runs: it, and all that it imports at once."""
    reached: set[Path] = set()
    waiting = {start.resolve()}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= imports(path, lazy=False) - reached
    return reached


def gzipped_bytes(path: Path) -> int:
    """What a file takes on its way to a browser."""
    return len(gzip.compress(path.read_bytes(), 9))


def npm_tool(path: str) -> Path:
    """A tool of the packages that check the page; the test is skipped where it is not installed."""
    found = VENDORING / "node_modules" / path
    if not found.exists():
        pytest.skip(f"{path} is not installed: ./scripts/test setup installs it where npm is")
    return found


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a check; what it says is the failure."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
