"""The small snapshots: guppy's table, as JSON, and guppy's own file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from sandbox.heap.summary import Row, Summary
from tests.sandbox.heap.taking import take


def row(rows: list[Row], kind: str) -> Row:
    """The row of this kind."""
    return next(row for row in rows if row.kind == kind)


def test_a_summary_counts_by_class_and_by_referrers(tmp_path: Path) -> None:
    """Objects and bytes by class, and by the classes of what refers to them."""
    path = tmp_path / "heap.json"
    assert take("plain", path, kind="summary") == ""
    summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    assert summary.notes == []
    assert row(summary.by_class, "plain.Box").objects == 300
    assert row(summary.by_referrers, "list").objects >= 300
    assert sum(each.objects for each in summary.by_class) == summary.objects
    assert sum(each.bytes for each in summary.by_class) == summary.bytes


def test_a_summary_without_guppy_says_so(tmp_path: Path) -> None:
    """Where guppy does not fit the interpreter, our own walk counts, and a note tells why."""
    path = tmp_path / "heap.json"
    assert take("no_guppy", path, kind="summary") == ""
    summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    assert row(summary.by_class, "no_guppy.Thing").objects == 10
    assert row(summary.by_class, "str").objects > 1_000
    assert summary.by_referrers == []
    assert "guppy does not fit this interpreter or heap: ImportError" in summary.notes[0]


def test_a_snapshot_without_guppy_says_so(tmp_path: Path) -> None:
    """A heap snapshot needs no guppy, and tells what it lacks without it."""
    path = tmp_path / "heap.heapsnapshot"
    assert take("no_guppy", path) == ""
    assert b"guppy does not fit this interpreter: thread-locals are missing" in path.read_bytes()


def test_guppys_own_file_opens_in_guppy(tmp_path: Path) -> None:
    """A file of kind `hpy` is loaded by guppy, with the classes that were there."""
    path = tmp_path / "heap.hpy"
    assert take("plain", path, kind="hpy") == ""
    program = "import guppy, sys; print(guppy.hpy().load(sys.argv[1]))"
    shown = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "types.CodeType" in shown.stdout


def test_a_class_that_defends_itself_costs_only_guppy(tmp_path: Path) -> None:
    """A metaclass that raises SystemExit when asked for a name ends guppy's count, not ours."""
    path = tmp_path / "heap.json"
    assert take("shapes", path, kind="summary") == ""
    summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    assert row(summary.by_class, "shapes.Box").objects > 300
    (note,) = summary.notes
    assert note.startswith("guppy does not fit this interpreter or heap: System")


def test_guppys_own_file_needs_guppy(tmp_path: Path) -> None:
    """Where there is no guppy, the reason is one that an operator can act on."""
    failed = take("no_guppy", tmp_path / "none", kind="hpy")
    assert failed.startswith("guppy does not fit this interpreter or heap: ImportError")
