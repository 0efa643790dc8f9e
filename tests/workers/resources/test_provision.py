"""What a worker had is taken back behind the event loop's back."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sandbox.protocol import Withheld
from supervisor.workers.resources import uids
from supervisor.workers.resources.cgroups import Cgroups
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.resources.scratch import Scratch
from tests.harness.waiting import until

CHILD = 7
WITHIN_S = 20.0


class SlowScratch(Scratch):
    """The kernel takes its time to unmount, or to remove what was left, until it `may_end`."""

    may_end: threading.Event
    has_ended: threading.Event

    def remove(self, child: int) -> None:
        assert self.may_end.wait(WITHIN_S)
        super().remove(child)
        self.has_ended.set()


@pytest.mark.parametrize("may_mount", [True, False])
@pytest.mark.parametrize("is_empty", [True, False])
async def test_the_event_loop_does_not_wait_for_a_folder_to_go(
    tmp_path: Path, *, may_mount: bool, is_empty: bool
) -> None:
    """Nor does an exit where nothing was left in it; else the exit comes when it is gone."""
    scratch = SlowScratch(tmp_path / "scratch", may_mount=may_mount)
    scratch.may_end, scratch.has_ended = threading.Event(), threading.Event()
    scratch.prepare()
    assert scratch.create(CHILD, Withheld("not asked for")) is None
    held = scratch.descriptor(CHILD)
    assert held is not None
    if not is_empty:
        (Path(f"/proc/self/fd/{held}") / "file").write_text("x")
    os.close(held)
    told = threading.Event()
    WorkerResources(uids.available(tmp_path), Cgroups(None, ""), scratch).vacate(CHILD, told.set)
    assert told.is_set() is is_empty
    scratch.may_end.set()
    await until(told.is_set, WITHIN_S, "the exit is told")
    await until(scratch.has_ended.is_set, WITHIN_S, "nothing of it is left")
    assert scratch.descriptor(CHILD) is None
