"""Workers give way while they start, and only where they can come forward afterwards."""

from __future__ import annotations

import os
import signal

from supervisor.workers.process import NICE
from supervisor.workers.resources.procfs import can_hasten
from tests.conftest import StartService
from tests.harness.waiting import wait_until

PATIENCE_S = 30.0


def niceness(pid: int) -> int:
    """That of a process."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_workers_that_serve_have_their_full_share_and_spares_wait_behind(
    running_service: StartService,
) -> None:
    """A spare that takes over comes forward."""
    service = running_service({"pools.default": {"destinations": ["*"], "workers": 2, "spares": 1}})
    behind = NICE if can_hasten() else 0

    def pids(of: str) -> list[int]:
        (pool,) = service.admin("/status")["pools"]
        return [process["pid"] for process in pool[of]]

    wait_until(lambda: bool(pids("spares")), PATIENCE_S, "there is a spare")
    (spare,) = pids("spares")
    assert niceness(spare) == behind
    assert [niceness(pid) for pid in pids("workers")] == [0, 0]
    os.kill(pids("workers")[0], signal.SIGKILL)
    wait_until(lambda: spare in pids("workers"), PATIENCE_S, "the spare has taken over")
    assert niceness(spare) == 0
