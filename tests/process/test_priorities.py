"""Who comes first for the CPUs: the supervisor, workers that serve, workers behind them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from supervisor.workers.resources.priority import AHEAD, BEHIND, SERVING, YIELDING
from supervisor.workers.resources.procfs import can_hasten
from tests.conftest import StartService
from tests.harness.as_user import running_as
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until

PATIENCE_S = 30.0
HAS_AUTOGROUP = Path("/proc/self/autogroup").exists()


def niceness(pid: int) -> int:
    """That of a process."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def of_session(pid: int) -> int:
    """That of a process's session."""
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


def pids(service: RunningService, of: str) -> list[int]:
    """Workers that serve, or spares."""
    (pool,) = service.admin("/status")["pools"]
    return [process["pid"] for process in pool[of]]


POOL = {"pools.default": {"destinations": ["*"], "workers": 2, "spares": 1}}


def test_workers_that_serve_have_their_full_share_and_spares_wait_behind(
    running_service: StartService,
) -> None:
    """A spare that takes over comes forward."""
    service = running_service(POOL)
    behind, serving = (BEHIND, SERVING) if can_hasten() else (YIELDING, YIELDING)
    wait_until(lambda: bool(pids(service, "spares")), PATIENCE_S, "there is a spare")
    (spare,) = pids(service, "spares")
    assert niceness(spare) == behind
    assert [niceness(pid) for pid in pids(service, "workers")] == [serving, serving]
    os.kill(pids(service, "workers")[0], signal.SIGKILL)
    wait_until(lambda: spare in pids(service, "workers"), PATIENCE_S, "the spare has taken over")
    assert niceness(spare) == serving


def test_who_wakes_up_takes_no_cpu_from_the_supervisor_or_workers_that_serve(
    running_service: StartService,
) -> None:
    """The zygote is woken for every fork, and what it forks has much to do until it serves."""
    service = running_service(POOL)
    waits = os.SCHED_BATCH if can_hasten() else os.SCHED_OTHER
    wait_until(lambda: bool(pids(service, "spares")), PATIENCE_S, "there is a spare")
    assert os.sched_getscheduler(service.admin("/status")["zygote"]["pid"]) == waits
    (spare,) = pids(service, "spares")
    assert os.sched_getscheduler(spare) == waits
    serving = [service.pid, *pids(service, "workers")]
    assert [os.sched_getscheduler(pid) for pid in serving] == [os.SCHED_OTHER] * 3
    os.kill(serving[1], signal.SIGKILL)
    wait_until(lambda: spare in pids(service, "workers"), PATIENCE_S, "the spare has taken over")
    assert os.sched_getscheduler(spare) == os.SCHED_OTHER


@pytest.mark.skipif(not HAS_AUTOGROUP, reason="this kernel has no autogroup")
def test_sessions_have_the_niceness_of_their_leaders(running_service: StartService) -> None:
    """Each worker leads one, and where autogroup is on nothing else counts between them."""
    service = running_service(POOL)
    wait_until(lambda: bool(pids(service, "spares")), PATIENCE_S, "there is a spare")
    workers = [*pids(service, "workers"), *pids(service, "spares")]
    wait_until(
        lambda: all(of_session(pid) == niceness(pid) for pid in workers),
        PATIENCE_S,
        "sessions follow",
    )
    supervisor = of_session(service.pid)
    assert supervisor == (AHEAD if can_hasten() else 0)
    assert all(of_session(pid) > supervisor for pid in workers)


@pytest.mark.skipif(not HAS_AUTOGROUP, reason="this kernel has no autogroup")
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an ordinary user")
def test_workers_of_an_ordinary_user_stand_back(open_folder: Path) -> None:
    """It may not come first, so that they give way to it, and never come forward."""
    with running_as("tests.harness.as_user", open_folder, POOL) as service:
        wait_until(lambda: bool(pids(service, "spares")), PATIENCE_S, "all workers are there")
        workers = pids(service, "workers")
        assert (niceness(service.pid), of_session(service.pid)) == (0, 0)
        assert [niceness(pid) for pid in workers] == [YIELDING, YIELDING]
        # The kernel takes a change from an ordinary user where nobody, root included, made one in
        # the last tenth of a second; services of other tests make many.
        wait_until(
            lambda: [of_session(pid) for pid in workers] == [YIELDING, YIELDING],
            2 * PATIENCE_S,
            "sessions follow",
        )


def test_nothing_but_the_supervisor_comes_first(running_service: StartService) -> None:
    """What it starts does not inherit that."""
    service = running_service(POOL)
    assert niceness(service.pid) == (AHEAD if can_hasten() else 0)
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    assert children
    assert all(niceness(int(pid)) >= 0 for pid in children)
