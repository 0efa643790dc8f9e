"""What a run left in its state directory, whatever it is, keeps no later run from starting."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.workers.resources.removal import remove
from tests.harness.as_user import MODULES, hand_over, running_as
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.test_deaths import trial, written
from tests.workers.resources.hostile_folders import many_files, nested, odd_entries

GENEROUS_S = 60.0


@pytest.fixture(autouse=True)
def _no_trees_left(open_folder: Path) -> Iterator[None]:
    """Python's own removal of temporary folders would fail on them."""
    yield
    remove(open_folder / "service", GENEROUS_S)


@pytest.mark.parametrize("module", MODULES)
def test_leftovers_of_workers_keep_no_start(open_folder: Path, module: str) -> None:
    """Nested folders, many files, links, FIFOs and closed folders: it starts, and they are removed.

    In the folder of evidence, too: a FIFO is not read, and a folder not taken for a file.
    """
    diary = open_folder / "diary" / "lines"
    with running_as(module, open_folder, trial(diary, "diary")) as service:
        service.kill()
        state = service.directory / "state"
        scratch = state / "scratch"
        for path in scratch.iterdir():
            shutil.rmtree(path)
        nested(scratch / "1", 1_900)
        nested(scratch / "2", 100, mode=0o500)
        many_files(scratch / "3", 1_500)
        odd_entries(scratch / "4", open_folder)
        for folder, endings in (("snapshots", (".partial", ".about")), ("exits", (".json",))):
            for ending in endings:
                os.mkfifo(state / folder / f"fifo{ending}")
                nested(state / folder / f"folder{ending}", 2)
        if module != MODULES[0]:
            hand_over(service.directory)
        service.start()
        post(service.url, [track("m1")])
        wait_until(lambda: written(diary)["m1"] > 0, 20, "the event is delivered")
        wait_until(
            lambda: all(path.name.isdigit() for path in scratch.iterdir()),
            60,
            "what was left is removed",
        )
