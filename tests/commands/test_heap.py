"""`bulkhead heap report` and `bulkhead heap diff`, on real snapshots."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.commands.conftest import Bulkhead
from tests.sandbox.heap.taking import take


@pytest.fixture(scope="module")
def leak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a program that leaks; one of before lies beside it, named `.before`."""
    path = tmp_path_factory.mktemp("leak") / "leak.heapsnapshot"
    assert take("grows", path) == ""
    return path


def test_report_names_the_path(bulkhead: Bulkhead, leak: Path) -> None:
    """The text has the suspect's path, share and owner, and the classes."""
    ran = bulkhead("heap", "report", str(leak))
    assert ran.code == 0, ran.err
    assert "1. grows.CACHE['rows'] holds" in ran.out
    assert "owner: grows" in ran.out
    assert "objects by class" in ran.out


def test_report_reads_what_curl_has_saved_gzipped(
    bulkhead: Bulkhead, leak: Path, tmp_path: Path
) -> None:
    """A gzipped file is read as it is."""
    packed = tmp_path / "leak.heapsnapshot.gz"
    packed.write_bytes(gzip.compress(leak.read_bytes(), 1))
    told = json.loads(bulkhead("heap", "report", str(packed), "--json").out)
    assert told["suspects"][0]["path"] == "grows.CACHE['rows']"
    assert told["suspects"][0]["module"] == "grows"


def test_report_makes_a_page(bulkhead: Bulkhead, leak: Path, tmp_path: Path) -> None:
    """`--html` writes one file, for its owner alone, that needs no other."""
    page = tmp_path / "heap.html"
    assert bulkhead("heap", "report", str(leak), "--html", str(page)).code == 0
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert "grows.CACHE" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "src=" not in text


def test_diff_makes_a_page(bulkhead: Bulkhead, leak: Path, tmp_path: Path) -> None:
    """The same for a difference, in which only what is new has any weight."""
    page = tmp_path / "heap.html"
    before = str(leak.with_suffix(".before"))
    assert bulkhead("heap", "diff", before, str(leak), "--html", str(page)).code == 0
    assert "grows.CACHE" in page.read_text()


def test_diff_names_what_grew(bulkhead: Bulkhead, leak: Path) -> None:
    """Between two snapshots of one process, the path of what was added."""
    before = leak.with_suffix(".before")
    ran = bulkhead("heap", "diff", str(before), str(leak))
    assert ran.code == 0, ran.err
    assert "1. grows.CACHE['rows'] holds" in ran.out
    assert "of what is new" in ran.out
    told = json.loads(bulkhead("heap", "diff", str(before), str(leak), "--json").out)
    assert told["grew"][0]["path"] == "grows.CACHE['rows']"
    assert told["by_class"][0]["bytes"] > 1_000_000


def test_report_of_a_summary_is_its_tables(bulkhead: Bulkhead, tmp_path: Path) -> None:
    """A summary is shown as tables by class and by referrers."""
    path = tmp_path / "plain.json"
    assert take("plain", path, kind="summary") == ""
    ran = bulkhead("heap", "report", str(path))
    assert ran.code == 0, ran.err
    assert "by class" in ran.out
    assert "by the classes of what refers to them" in ran.out
    assert json.loads(bulkhead("heap", "report", str(path), "--json").out)["objects"] > 10_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a readable snapshot"),
        (b"hello", "not a readable snapshot"),
        (b"\x1f\x8bhello", "cannot read it"),
        (b".loader: _load_stat\n", "guppy.hpy().load(FILE)"),
        (b'{"file":"bulkhead-heap-summary"}', "missing required field"),
    ],
    ids=["empty", "text", "broken gzip", "hpy", "summary"],
)
def test_what_cannot_be_read_is_an_error_with_a_reason(
    bulkhead: Bulkhead, tmp_path: Path, content: bytes, reason: str
) -> None:
    """One line with the file's name, and exit code 1."""
    path = tmp_path / "broken"
    path.write_bytes(content)
    ran = bulkhead("heap", "report", str(path))
    assert ran.code == 1
    assert ran.err.startswith(f"{path}: ")
    assert reason in ran.err
    assert ran.err.count("\n") == 1


def test_a_missing_file_is_wrong_usage(bulkhead: Bulkhead, tmp_path: Path) -> None:
    """A file that is not there, and options that exclude each other, are exit code 2."""
    assert bulkhead("heap", "report", str(tmp_path / "none")).code == 2
    (tmp_path / "some").touch()
    assert bulkhead("heap", "report", str(tmp_path / "some"), "--json", "--html", "x").code == 2
