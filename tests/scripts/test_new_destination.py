"""`scripts/new-destination`: what it makes passes its tests at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.pages import headings

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with as much as the script and its tests need."""
    for folder in ("destinations/kit", "supervisor", "sandbox", "tests/harness"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    for file in (
        "destinations/__init__.py",
        "pyproject.toml",
        "scripts/new-destination",
        "scripts/catalogue.py",
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / file, tmp_path / file)
    return tmp_path


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_passes_its_tests(checkout: Path) -> None:
    """The new destination's tests pass, and so do the formatter and the linter."""
    made = run(checkout, "scripts/new-destination", "my-crm2")
    assert made.returncode == 0, made.stderr
    assert "wrote destinations/my_crm2/__init__.py" in made.stdout
    tested = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "8 passed" in tested.stdout, tested.stdout + tested.stderr
    # Sorts ahead of the kit, and has the longest name there may be.
    assert run(checkout, "scripts/new-destination", "a" * 30).returncode == 0
    for arguments in (("format", "--check", "."), ("check", ".")):
        linted = run(checkout, "-m", "ruff", *arguments, "--no-cache")
        assert linted.returncode == 0, linted.stdout


def test_its_page(checkout: Path) -> None:
    """The page has the common form, the generator fills it in, and the journey plays as a tape."""
    assert run(checkout, "scripts/new-destination", "my-crm2").returncode == 0
    page = checkout / "destinations/my_crm2/README.md"
    common = REPOSITORY / "destinations/webhooks/README.md"
    assert set(headings(common)) <= set(headings(page))
    written = run(checkout, "scripts/catalogue.py")
    assert "wrote destinations/my_crm2/README.md" in written.stdout, written.stderr
    text = page.read_text()
    assert "| `api_key` | text | **required** |" in text
    assert "| track | `value` | `@worth` |" in text
    assert "POST https://api.my-crm2.example/v1/events" in text
    assert run(checkout, "scripts/catalogue.py", "--check").returncode == 0
    tested = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "9 passed" in tested.stdout, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", ["kit", "My-CRM", "1crm", "a--b", "../x", "class", "", "a" * 31])
def test_no_name(checkout: Path, name: str) -> None:
    """What is no name of a destination is refused, and nothing is written."""
    refused = run(checkout, "scripts/new-destination", name)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert sorted(path.name for path in (checkout / "destinations").iterdir()) == [
        "__init__.py",
        "kit",
    ]


def test_nothing_is_overwritten(checkout: Path) -> None:
    """A folder that is there is left as it is."""
    assert run(checkout, "scripts/new-destination", "pager").returncode == 0
    again = run(checkout, "scripts/new-destination", "pager")
    assert again.returncode == 2
    assert "destinations/pager is there already" in again.stderr
