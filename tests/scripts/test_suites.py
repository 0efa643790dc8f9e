"""The summary by destination."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_one_failing_suite(tmp_path: Path) -> None:
    """A suite that fails, or cannot be imported, neither hides nor stops the others."""
    for name, text in {
        "good": "def test_one(): pass\ndef test_two(): pass",
        "bad": "def test_one(): assert 0\ndef test_two(): pass",
        "unimportable": "import nothing_of_that_name",
        "google_ads": "import pytest\n@pytest.mark.skip(reason='x')\ndef test_one(): pass",
    }.items():
        folder = tmp_path / "tests" / "destinations" / name
        folder.mkdir(parents=True)
        (folder / f"test_{name}.py").write_text(text)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from tests.harness.suites import Suites\n"
        "def pytest_configure(config): config.pluginmanager.register(Suites())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1
    for line in (
        "✗ bad, 1 failed, 1 passed",
        "✓ good, 2 passed",
        "✓ google-ads, 1 skipped",
        "✗ unimportable, 1 not imported",
    ):
        assert line in ran.stdout.splitlines()
