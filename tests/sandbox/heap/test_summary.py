"""The small snapshots: guppy's table, as JSON, and guppy's own file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

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


def test_tables_need_no_guppy(tmp_path: Path) -> None:
    """Where guppy does not fit the interpreter, a note tells what is missing."""
    path = tmp_path / "heap.json"
    assert take("no_guppy", path, kind="summary") == ""
    summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    assert row(summary.by_class, "no_guppy.Thing").objects == 10
    assert row(summary.by_class, "str").objects > 1_000
    assert summary.notes == ["guppy does not fit this interpreter: thread-locals are missing"]
    assert take("no_guppy", tmp_path / "heap.hpy", kind="hpy") == ""


def test_what_refers_is_told_by_class(tmp_path: Path) -> None:
    """Each object stands under the classes of all that refers to it, and once."""
    path = tmp_path / "heap.json"
    assert take("shapes", path, kind="summary") == ""
    summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    assert sum(each.bytes for each in summary.by_referrers) == summary.bytes
    assert sum(each.objects for each in summary.by_referrers) == summary.objects
    assert row(summary.by_referrers, "shapes.Box").objects >= 1


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


@pytest.mark.parametrize("kind", ["summary", "hpy", "heapsnapshot"])
@pytest.mark.parametrize("program", ["hostile_classes", "shapes"])
def test_no_class_is_asked_for_anything(program: str, kind: str, tmp_path: Path) -> None:
    """A class whose metaclass answers with code of its own is counted and named all the same."""
    path = tmp_path / "heap"
    # What such code prints would be in what comes back, and it ends the copy.
    assert take(program, path, kind=kind) == ""
    text = path.read_text()
    assert "hostile_classes.Hostile" in text or program == "shapes"
    if kind == "summary":
        summary = msgspec.json.decode(text, type=Summary)
        assert summary.notes == []
        name = "hostile_classes.Hostile" if program == "hostile_classes" else "shapes.Box"
        assert row(summary.by_class, name).objects >= 300


def test_names_are_taken_as_they_stand(tmp_path: Path) -> None:
    """Functions, frames and tasks whose names are no plain texts are named without asking."""
    path = tmp_path / "heap.heapsnapshot"
    assert take("hostile_names", path) == ""
    assert "?.?" in path.read_text()
