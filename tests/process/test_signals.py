"""Signals at whatever moment they come, and starts that fail half-way: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartService
from tests.harness.manager import (
    MOST_LAG_S,
    WATCHDOG_S,
    ServiceManager,
    asked_all_the_while,
)
from tests.harness.service import RunningService, writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.test_reload import PLUGINS, Sections, base, logged

#: What systemd is told, and its watchdog, are judged in each of these tests.
pytestmark = pytest.mark.usefixtures("managed")

#: Seconds for what takes two or three on a quiet machine. What is tested took 25 and more, or
#: never ended.
SOON_S = 20.0


def with_plugin(folder: Path, source: str) -> Sections:
    """A config with one destination of this source, beside a good one."""
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(source)
    return {
        "service": {"plugin_paths": [str(folder), PLUGINS]},
        "destinations.own": {"class": "own:Own"},
        "connections.own": {"source": "test", "destination": "own"},
    }


HANGS = "import time\ntime.sleep(600)\n"


def ended(process: subprocess.Popen[bytes], within_s: float = SOON_S) -> int:
    """The exit status. Raises where it takes longer."""
    return process.wait(within_s)


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All that it has started."""
    return psutil.Process(process.pid).children(recursive=True)


def is_logged(service: RunningService, message: str) -> Callable[[], bool]:
    """Whether there is a line with this message."""
    return lambda: bool(logged(service, message))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_is_stopped_at_once(tmp_path: Path, number: int, managed: ServiceManager) -> None:
    """Also while a plugin's import hangs; nobody is left behind, and nothing is a traceback.

    Nor was anybody told that it is ready.
    """
    service = RunningService(tmp_path, with_plugin(tmp_path / "plugins", HANGS))
    process = service.begin()
    try:
        wait_until(lambda: len(children(process)) > 1, SOON_S, "a worker imports the plugin")
        started = children(process)
        process.send_signal(number)
        assert ended(process) == 0
    finally:
        service.kill()
    assert logged(service, "start_cancelled")
    assert "Traceback" not in service.log_path.read_text()
    wait_until(lambda: not any(child.is_running() for child in started), 5, "all are gone")
    assert managed.states(process.pid) == ["STOPPING=1"]


#: What stands in a state directory where something else has to: each fails another step of a start.
BROKEN: dict[str, Callable[[Path], object]] = {
    "paused": lambda state: (state / "paused.json").write_text("{"),
    "exits": lambda state: (state / "exits").write_text("a file"),
    "snapshots": lambda state: (state / "snapshots").write_text("a file"),
    "scratch": lambda state: (state / "scratch").write_text("a file"),
    "queue": lambda state: (state / "queue.db").write_bytes(b"no database" * 1000),
}


@pytest.mark.parametrize("step", BROKEN)
def test_a_start_that_fails_ends_with_its_cause(tmp_path: Path, step: str) -> None:
    """Whatever was made by then is closed, and nothing that was not: one line, no traceback."""
    service = RunningService(tmp_path, {})
    state = tmp_path / "state"
    state.mkdir()
    BROKEN[step](state)
    process = service.begin()
    try:
        # Some of these are put right, and said.
        wait_until(
            lambda: process.poll() is not None or is_logged(service, "service_runs")(),
            SOON_S,
            "it runs or has ended",
        )
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = ended(process)
    finally:
        service.kill()
    text = service.log_path.read_text()
    assert "Traceback" not in text
    assert "AttributeError" not in text
    if not logged(service, "service_runs"):
        assert status == 1
        assert str(state) in [line for line in text.splitlines() if not line.startswith("{")][-1]


def test_an_address_that_is_taken_is_one_line(
    tmp_path: Path, running_service: StartService
) -> None:
    """The first step of a start: there is nothing else to close yet."""
    first = running_service({})
    second = RunningService(tmp_path / "second", {}, api_port=first.api_port)
    process = second.begin()
    try:
        assert ended(process) == 2
    finally:
        second.kill()
    assert "Traceback" not in second.log_path.read_text()
    assert "api.listen: cannot listen" in second.log_path.read_text()


def test_hangups_never_end_it_and_none_is_forgotten(tmp_path: Path) -> None:
    """From the moment when the config is read; one that comes while it starts is carried out."""
    folder = tmp_path / "plugins"
    sections = with_plugin(folder, HANGS)
    service = RunningService(tmp_path, sections)
    process = service.begin()
    try:
        wait_until(lambda: len(children(process)) > 1, SOON_S, "a worker imports the plugin")
        for _ in range(20):
            process.send_signal(signal.SIGHUP)
        wait_until(is_logged(service, "reload_asked"), SOON_S, "it was heard")
        wait_until(is_logged(service, "config_reloaded"), 60, "it was carried out")
        running = [line["time"] for line in logged(service, "service_runs")]
        assert running[0] < logged(service, "config_reloaded")[0]["time"]
        assert len(logged(service, "config_reloaded")) <= 2
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    finally:
        service.kill()


def test_a_hundred_hangups_are_few_reloads_and_the_newest_file_wins(
    running_service: StartService, tmp_path: Path, managed: ServiceManager
) -> None:
    """One at a time, and what is asked for meanwhile is one more; it is ready all the while."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(base(diary))
    text = service.config_path.read_text()
    with asked_all_the_while(service.api_port, "/ready") as ready:
        for round_ in range(100):
            newest = text.replace("[connections.one]", f"[connections.c{round_}]")
            replacement = service.config_path.with_suffix(".new")
            replacement.write_text(newest)
            replacement.rename(service.config_path)
            os.kill(service.pid, signal.SIGHUP)
            time.sleep(0.005)
        wait_until(lambda: connections_of(service) == ["c99"], 60, "the newest is in force")
    assert ready.statuses == {200}
    assert max(ready.seconds) < MOST_LAG_S
    reloads = len(logged(service, "config_reloaded"))
    assert reloads < 20
    told = managed.states(service.pid)
    assert reloads <= told.count("RELOADING=1") <= reloads + 1
    os.kill(service.pid, signal.SIGHUP)
    service.stop()


def connections_of(service: RunningService) -> list[str]:
    """Names that have a queue."""
    return [queue["connection"] for queue in service.admin("/status")["queues"]]


def test_a_stop_ends_a_reload(running_service: StartService, tmp_path: Path) -> None:
    """While new code is asked what it is: the stop does not wait for it, nor start its workers."""
    folder = tmp_path / "plugins"
    good = "from destinations.kit import Destination\nclass Own(Destination):\n    name = 'own'\n"
    service = running_service(with_plugin(folder, good))
    workers = set(service.worker_pids())
    (folder / "own.py").write_text(HANGS)
    process = service._require_process()
    process.send_signal(signal.SIGHUP)
    before = len(children(process))
    wait_until(lambda: len(children(process)) > before, SOON_S, "a worker imports the plugin")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    service.stop()
    assert not logged(service, "config_reloaded")
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_a_second_signal_ends_the_wait(
    running_service: StartService, tmp_path: Path, managed: ServiceManager
) -> None:
    """What is with workers is given up as at the drain limit, and stays pending on disk."""
    diary = tmp_path / "diary" / "lines"
    sections = base(diary, seconds=600.0)
    sections["service"]["drain_timeout"] = "10m"
    sections["pools.default"]["batch_timeout"] = "30m"
    sections["pools.default"]["write_paths"] = [writable(diary)]
    service = running_service(sections)
    post(service.url, [track("m1")])
    wait_until(lambda: service.queue_of("one")["inflight"] == 1, SOON_S, "it is with a worker")
    process = service._require_process()
    process.send_signal(signal.SIGINT)
    wait_until(is_logged(service, "draining"), SOON_S, "it drains")
    assert process.poll() is None
    assert [service.ask(path, SOON_S)[0] for path in ("/health", "/ready")] == [200, 503]
    assert not service.is_ready()
    assert managed.states(process.pid) == ["READY=1", "STOPPING=1"]
    pings = len(managed.notices)
    wait_until(
        lambda: any("WATCHDOG=1" in notice.lines for notice in managed.notices[pings:]),
        WATCHDOG_S,
        "a service that drains pings",
    )
    process.send_signal(signal.SIGINT)
    assert ended(process) == 0
    service.kill()
    assert logged(service, "drain_limit_reached")
    service.start()
    assert service.books()["pending"] == 1
    os.kill(service.pid, signal.SIGKILL)
    service.kill()
