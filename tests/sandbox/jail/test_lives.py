"""Workers of a running service: what they leave behind, and what they write."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartService
from tests.harness.as_user import MODULES, running_as
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
    service = running_service(sections("forks", times=12))
    post(service.url, [track("m1")])
    children: list[psutil.Process] = []

    def is_forking() -> bool:
        children[:] = psutil.Process(service.pid).children(recursive=True)
        return len({os.getsid(child.pid) for child in children}) < len(children)

    with contextlib.suppress(TimeoutError, ProcessLookupError):  # seen and ended in between
        wait_until(is_forking, 5, "a fork of a worker")
    service.kill()
    _, left = psutil.wait_procs(children, timeout=20)
    assert not left


@pytest.mark.parametrize("module", MODULES)
def test_fork_that_nobody_asked_for_is_ended_and_charged(open_folder: Path, module: str) -> None:
    """At the next look, whether its parent lives or not; the batch that ran is named."""
    with running_as(module, open_folder, sections("forks")) as service:
        post(service.url, [track("m1")])
        assert "of its own" in service.first_exit(reason="limit")["detail"]
        assert "trial" in {end["connection"] for end in service.exits(reason="limit")}


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
    # Which of them depends on what had to be mounted to show the worker its code.
    assert letter["reason"] in (
        "wrote 1; beside it: Permission denied",
        "wrote 1; beside it: Read-only file system",
    )
    assert not [what for what in service.admin("/status")["limits"]["unheld"] if "files" in what]
    scratch = service.directory / "state" / "scratch"
    if service.admin("/status")["limits"]["scratch"].startswith("disk"):
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
    end = service.first_exit()
    # Behind it, where the step has ended before the look, stands which one that was.
    detail = end["detail"].partition(", after a step of ")[0]
    assert (end["reason"], detail) == ("limit", "more than 1000 files in its scratch folder")
