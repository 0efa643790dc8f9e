"""Nothing of a worker outlives it, nor the supervisor, whatever dies in which order."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.harness.as_user import MODULES, running_as
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parents[1] / "sandbox" / "jail" / "plugins")
#: What dies: of an earlier zygote, whose workers live on, more than a moment before.
ORDERS = (
    "supervisor",
    "supervisor and zygote",
    "zygote and supervisor",
    "an earlier zygote first",
    "the reaper first",
)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("order", ORDERS)
def test_no_fork_of_a_worker_outlives_the_supervisor(
    open_folder: Path, order: str, module: str
) -> None:
    """Forks that heed no signal, made while the supervisor could not look any more."""
    folder = open_folder / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    with running_as(module, open_folder, lurking(folder)) as service:
        outlived(service, folder / "now", order)


def outlived(service: RunningService, now: Path, order: str) -> None:
    """Have forks made, end what is to end, and see that nothing is left."""
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)
    zygote = service.admin("/status")["zygote"]["pid"]
    if order in ("an earlier zygote first", "the reaper first"):
        os.kill(zygote if order == "an earlier zygote first" else reaper_of(zygote), signal.SIGKILL)
        wait_until(
            lambda: service.admin("/status")["zygote"]["pid"] not in (zygote, None),
            20,
            "another zygote",
        )
        wait_until(lambda: not psutil.pid_exists(zygote), 20, "the first one is reaped")
        another = psutil.Process(service.admin("/status")["zygote"]["pid"])
        wait_until(lambda: bool(another.children()), 20, "it has a reaper")
    (worker,) = service.worker_pids()
    os.kill(service.pid, signal.SIGSTOP)
    try:
        now.touch()
        wait_until(
            lambda: len(psutil.Process(worker).children(recursive=True)) == 2, 20, "two forks"
        )
        everybody = psutil.Process(service.pid).children(recursive=True)
        known = {process.pid for process in everybody}
        forks = psutil.Process(worker).children(recursive=True)
        everybody += [fork for fork in forks if fork.pid not in known]
        if order == "zygote and supervisor":
            os.kill(zygote, signal.SIGKILL)
    finally:
        os.kill(service.pid, signal.SIGKILL)
    if order == "supervisor and zygote":
        with contextlib.suppress(ProcessLookupError):  # it ends by itself as well
            os.kill(zygote, signal.SIGKILL)
    service.kill()
    _, left = psutil.wait_procs(everybody, timeout=20)
    assert not left


def reaper_of(zygote: int) -> int:
    """Its only child: workers are the supervisor's."""
    # For a moment a process in between, which forks a worker, is a child of it, too.
    wait_until(lambda: len(psutil.Process(zygote).children()) == 1, 20, "nobody is being forked")
    (reaper,) = psutil.Process(zygote).children()
    return reaper.pid


def test_workers_are_forked_whatever_became_of_the_reaper(open_folder: Path) -> None:
    """It dies together with a worker, and there are another worker and another reaper."""
    folder = open_folder / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    with running_as(MODULES[0], open_folder, lurking(folder)) as service:
        zygote = service.admin("/status")["zygote"]["pid"]
        for pid in (reaper_of(zygote), *service.worker_pids()):
            os.kill(pid, signal.SIGKILL)
        post(service.url, [track("m1")])
        service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)

        def is_watched() -> bool:
            pid = service.admin("/status")["zygote"]["pid"]
            return pid not in (zygote, None) and bool(psutil.Process(pid).children())

        wait_until(is_watched, 20, "another zygote has a reaper")


def lurking(folder: Path) -> dict[str, dict[str, object]]:
    """The config of a service whose only worker waits for `folder/now`."""
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "spares": 0,
            "write_paths": [str(folder)],
        },
        "destinations.lurks": {"class": "inmates:Lurks"},
        "connections.trial": {
            "source": "test",
            "destination": "lurks",
            "settings": {"path": str(folder / "now")},
        },
    }
