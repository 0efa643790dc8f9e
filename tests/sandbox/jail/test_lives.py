"""Workers of a running service: what they leave behind, and what they write."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from tests.conftest import StartService
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")


def sections(name: str, **settings: object) -> dict[str, dict[str, object]]:
    """A config with one connection to a destination of `plugins/inmates.py`."""
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "retry": {"first_delay": "100ms", "max_delay": "200ms"},
        "pools.default": {"destinations": ["*"], "workers": 1, "spares": 0},
        f"destinations.{name}": {"class": f"inmates:{name.capitalize()}"},
        "connections.trial": {"source": "test", "destination": name, "settings": settings},
    }


def test_fork_of_a_worker_does_not_outlive_the_supervisor(running_service: StartService) -> None:
    """After SIGKILL of the supervisor nothing runs any more, what a worker forked included."""
    service = running_service(sections("forks"))
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)
    (worker,) = service.worker_pids()
    (fork,) = psutil.Process(worker).children()
    everybody = psutil.Process(service.pid).children(recursive=True)
    assert fork in everybody
    service.kill()
    _, left = psutil.wait_procs(everybody, timeout=20)
    assert not left


def last_exit(service: RunningService) -> dict[str, str] | None:
    """How the only worker ended last."""
    (worker,) = service.admin("/status")["pools"][0]["workers"]
    end: dict[str, str] | None = worker["last_exit"]
    return end


def test_worker_writes_to_its_scratch_folder_alone(
    running_service: StartService, tmp_path: Path
) -> None:
    """Temporary files of every kind work, nothing beside them does, and all are removed."""
    beside = tmp_path / "beside"
    beside.touch()
    beside.chmod(0o666)
    service = running_service(sections("writes", beside=str(beside)))
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["failed"] == 1, within_s=20)
    (letter,) = service.admin("/deadletters")["deadletters"]
    assert letter["reason"] == "wrote 1; beside it: Permission denied"
    scratch = service.directory / "state" / "scratch"
    assert [len(os.listdir(folder)) for folder in scratch.iterdir()] == [1]
    service.admin("/workers/default-1/recycle", "POST")
    wait_until(
        lambda: sum(len(os.listdir(folder)) for folder in scratch.iterdir()) == 0,
        20,
        "the folder of the recycled worker is gone",
    )
    service.stop()
    assert list(scratch.iterdir()) == []


def test_worker_that_fills_its_scratch_folder_is_ended(running_service: StartService) -> None:
    """Too many files end it for `limit`, with the reason in its exit."""
    service = running_service(sections("writes", files=1500))
    post(service.url, [track("m1")])
    wait_until(lambda: last_exit(service) is not None, 20, "an exit of the worker")
    end = last_exit(service)
    assert end is not None
    assert (end["reason"], end["detail"]) == ("limit", "more than 1000 files in its scratch folder")
