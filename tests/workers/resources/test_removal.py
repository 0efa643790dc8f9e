"""Removing what a worker has left, whatever it made of its folder."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.protocol import Withheld
from supervisor.workers.resources.removal import remove, temporary_folder
from supervisor.workers.resources.scratch import ASIDE, Scratch
from tests.harness.jailed import ORDINARY_UID, ROOT
from tests.workers.resources.hostile_folders import many_files, nested, odd_entries

GENEROUS_S = 60.0
#: FS_IOC_SETFLAGS and FS_IMMUTABLE_FL of <linux/fs.h>.
_SET_FLAGS, _IMMUTABLE = 0x40086602, 0x10


@pytest.fixture(autouse=True)
def _no_trees_left(tmp_path: Path) -> Iterator[None]:
    """pytest's own removal of old folders would fail on them."""
    yield
    remove(tmp_path, GENEROUS_S)


@contextmanager
def undeletable(folder: Path) -> Iterator[None]:
    """A file `stays` in the folder that not even root may remove meanwhile."""
    held = os.open(folder / "stays", os.O_CREAT | os.O_RDONLY, 0o600)
    try:
        fcntl.ioctl(held, _SET_FLAGS, _IMMUTABLE.to_bytes(8, sys.byteorder))
    except OSError as error:
        os.close(held)
        pytest.skip(f"files cannot be made immutable here: {error.strerror}")
    try:
        yield
    finally:
        fcntl.ioctl(held, _SET_FLAGS, bytes(8))
        os.close(held)


def test_what_is_not_there_is_gone(tmp_path: Path) -> None:
    """A path that is missing, and one below a folder that is, need no removal."""
    assert remove(tmp_path / "missing", GENEROUS_S) == ""
    assert remove(tmp_path / "missing" / "too", GENEROUS_S) == ""


def test_nesting_is_no_obstacle(tmp_path: Path) -> None:
    """1,900 folders one in the other, with names of 255 bytes, leave no descriptor behind."""
    nested(tmp_path / "deep", 1_900)
    before = len(os.listdir("/proc/self/fd"))
    assert remove(tmp_path / "deep", GENEROUS_S) == ""
    assert not (tmp_path / "deep").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_links_are_not_followed_and_pipes_not_opened(tmp_path: Path) -> None:
    """What a link points to stays; FIFOs, loops and names of any bytes go."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    odd_entries(tmp_path / "odd", outside)
    assert remove(tmp_path / "odd", GENEROUS_S) == ""
    (tmp_path / "link").symlink_to(outside)
    assert remove(tmp_path / "link", GENEROUS_S) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an ordinary user")
@pytest.mark.parametrize("mode", [0o000, 0o100, 0o500])
def test_modes_are_no_obstacle_to_an_ordinary_user(tmp_path: Path, mode: int) -> None:
    """Folders that their owner may not read, search or write to are removed by their owner."""
    program = (
        "import os, sys; from pathlib import Path\n"
        "from supervisor.workers.resources.removal import remove\n"
        "from tests.workers.resources.hostile_folders import nested\n"
        f"os.setgroups([]); os.setresgid(*3 * [{ORDINARY_UID}])\n"
        f"os.setresuid(*3 * [{ORDINARY_UID}])\n"
        f"nested(Path('tree'), 40, mode={mode})\n"
        "sys.exit(remove(Path('tree'), 60.0) or None)"
    )
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "tree").exists()


def test_time_is_bounded_and_what_was_done_stays_done(tmp_path: Path) -> None:
    """More files than can be removed in the time given: it says so, and the rest are fewer."""
    many_files(tmp_path / "many", 20_000)
    began = time.monotonic()
    assert "not done" in remove(tmp_path / "many", 0.0)
    assert time.monotonic() - began < 5
    while remove(tmp_path / "many", 0.05):
        assert time.monotonic() - began < GENEROUS_S
    assert not (tmp_path / "many").exists()


def test_what_nobody_may_remove_is_said_and_the_rest_is_removed(tmp_path: Path) -> None:
    """An obstacle deep inside keeps its own folder alone."""
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "other").write_text("")
    with undeletable(tree / "a" / "b"):
        assert remove(tree, GENEROUS_S)
        left = [path for path in tree.rglob("*") if not path.is_dir()]
        assert [path.name for path in left] == ["stays"]
    assert remove(tree, GENEROUS_S) == ""


def test_a_temporary_folder_ends_whatever_is_in_it() -> None:
    """Commands give workers such folders, too."""
    with temporary_folder("bulkhead-test-") as path:
        nested(Path(path) / "deep", 1_200)
    assert not Path(path).exists()


def test_a_start_sets_aside_what_it_finds_and_removes_it_later(tmp_path: Path) -> None:
    """Leftovers never keep a start, their names are free at once, and they are gone in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    nested(folder / "1", 1_900)
    many_files(folder / "2", 3_000)
    (folder / f"{ASIDE}earlier").write_text("set aside by the run before")
    scratch = Scratch(folder, may_mount=False)
    began = time.monotonic()
    scratch.prepare()
    assert time.monotonic() - began < 5
    assert scratch.create(1, Withheld("nobody's")) is None
    assert not list((folder / "1").iterdir())
    while scratch.has_aside:
        scratch.clear_aside()
        assert time.monotonic() - began < GENEROUS_S
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_a_folder_in_the_way_makes_way(tmp_path: Path) -> None:
    """Where a start had no time for all leftovers, a new worker's folder is an empty one still."""
    scratch = Scratch(tmp_path, may_mount=False)
    nested(tmp_path / "7", 5)
    assert scratch.create(7, Withheld("nobody's")) is None
    assert not list((tmp_path / "7").iterdir())


def test_a_file_in_the_place_of_all_scratch_makes_way(tmp_path: Path) -> None:
    """What is no folder is set aside under another name, and kept."""
    (tmp_path / "scratch").write_text("somebody's")
    scratch = Scratch(tmp_path / "scratch", may_mount=False)
    scratch.prepare()
    assert scratch.create(1, Withheld("nobody's")) is None
    (kept,) = (path for path in tmp_path.iterdir() if path.name != "scratch")
    assert kept.read_text() == "somebody's"


def test_what_cannot_be_removed_is_set_aside_and_tried_once_a_run(tmp_path: Path) -> None:
    """A worker's exit does not wait for it, its name is free, and clearing comes to an end."""
    scratch = Scratch(tmp_path, may_mount=False)
    assert scratch.create(1, Withheld("nobody's")) is None
    with undeletable(tmp_path / "1"):
        scratch.remove(1)
        assert not (tmp_path / "1").exists()
        scratch.clear_aside()
        assert not scratch.has_aside
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(ASIDE)
    again = Scratch(tmp_path, may_mount=False)
    again.prepare()
    again.clear_aside()
    assert not list(tmp_path.iterdir())
