"""`bulkhead heap WORKER` and `bulkhead stacks`, against the admin API over a stub."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from supervisor.commands import client
from tests.admin.stubs import StubControl
from tests.commands.conftest import Bulkhead, Ran

NAME = "default-1-4711-20260131T130000Z.heapsnapshot"


def printed(ran: Ran) -> str:
    """The last line: the stub of a service logs in this process, too."""
    return ran.out.splitlines()[-1]


@pytest.fixture(autouse=True)
def folder(control: StubControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs; the service keeps its own elsewhere."""
    control.evidence.folder = tmp_path / "kept"
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def test_a_snapshot_is_saved_under_its_own_name(
    bulkhead: Bulkhead, admin: str, control: StubControl, folder: Path
) -> None:
    """Whole, and readable by its owner only."""
    ran = bulkhead("heap", "default-1", "--admin", admin)
    assert (ran.code, printed(ran), ran.err) == (0, f"{NAME}: 15 bytes", "")
    assert (folder / NAME).read_bytes() == control.evidence.body
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


def test_it_goes_where_it_is_told(
    bulkhead: Bulkhead, admin: str, control: StubControl, folder: Path
) -> None:
    """To a file, or to standard output; with values where that is asked for."""
    ran = bulkhead("heap", "default-1", "--admin", admin, "-o", "mine", "--strings", "full")
    assert printed(ran) == "mine: 15 bytes"
    ran = bulkhead("heap", "default-1", "--admin", admin, "-o", "-", "--format", "hpy")
    assert printed(ran) == control.evidence.body.decode()
    assert control.evidence.asked == [
        ("heapsnapshot", "default-1", True),
        ("hpy", "default-1", False),
    ]
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_it_waits_for_its_turn(bulkhead: Bulkhead, admin: str, control: StubControl) -> None:
    """Where another one is being taken, it asks again by itself."""
    control.evidence.busy = 2
    ran = bulkhead("heap", "default-1", "--admin", admin)
    assert (ran.code, printed(ran)) == (0, f"{NAME}: 15 bytes")
    assert control.evidence.busy == 0


def test_it_does_not_wait_for_ever(
    bulkhead: Bulkhead, admin: str, control: StubControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute it says what the service says."""
    monkeypatch.setattr(client, "BUSY_S", 0.0)
    control.evidence.busy = 1000
    ran = bulkhead("heap", "default-1", "--admin", admin)
    assert ran.code == 1
    assert "ask again in a few seconds" in ran.err


def test_what_cannot_be_had_or_kept_is_told(bulkhead: Bulkhead, admin: str, folder: Path) -> None:
    """One line, exit code 1, and no file."""
    ran = bulkhead("heap", "nobody-1", "--admin", admin)
    assert ran.code == 1
    assert ran.err == "there is no worker 'nobody-1'; there are default-1\n"
    ran = bulkhead("heap", "default-1", "--admin", admin, "-o", "no/such/folder")
    assert ran.code == 1
    assert ran.err == "no/such/folder: cannot be written: No such file or directory\n"
    ran = bulkhead("heap", "default-1", "--format", "pdf")
    assert ran.code == 2
    assert not list(folder.iterdir())


def test_stacks_are_printed(bulkhead: Bulkhead, admin: str) -> None:
    """As text."""
    ran = bulkhead("stacks", "default-1", "--admin", admin)
    assert (ran.code, printed(ran)) == (0, 'File "leaky.py", line 3 in deliver')
