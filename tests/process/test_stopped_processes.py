"""SIGSTOP: a process that we wait for does not answer any more, and is replaced and named."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartService
from tests.harness.manager import MOST_LAG_S, asked_all_the_while
from tests.harness.service import RunningService, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: What systemd is told, and its watchdog, are judged in each of these tests.
pytestmark = pytest.mark.usefixtures("managed")

#: Seconds; the longest limit that has to pass here is 20 s.
WITHIN_S = 60.0
HEAP = "/debug/workers/default-1/heap?format=heapsnapshot"
PLUGINS = str(Path(__file__).parent / "plugins")


def named(service: RunningService) -> list[tuple[str, str]]:
    """Who did not answer, and why, as `/status` says."""
    return [(one["who"], one["why"]) for one in service.admin("/status")["unanswered"]]


def serving(service: RunningService) -> list[int]:
    """Process ids of both workers, once both serve."""
    wait_until(lambda: len(service.worker_pids()) == 2, WITHIN_S, "both workers serve")
    return service.worker_pids()


def stop_next(found: Callable[[], set[int]]) -> threading.Thread:
    """SIGSTOP the first process that is `found` from now on and was not before."""
    known = found()

    def stopped() -> bool:
        for pid in found() - known:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                return True
        return False

    thread = threading.Thread(target=wait_until, args=(stopped, WITHIN_S, "one to be stopped"))
    thread.start()
    return thread


def children(pid: int, *, of: str = "") -> set[int]:
    """Its children; those whose command line has `of`."""
    found = set()
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                if of in " ".join(child.cmdline()):
                    found.add(child.pid)
    return found


def test_a_zygote_that_stands_still_is_replaced(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Workers that it was asked for come from another one."""
    service = running_service(webhook_sections(sink.url, workers=2, spares=1))
    before = serving(service)
    zygote = service.admin("/status")["zygote"]["pid"]
    os.kill(zygote, signal.SIGSTOP)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    with asked_all_the_while(service.api_port, "/ready") as ready:
        wait_until(
            lambda: service.admin("/status")["zygote"]["pid"] not in (None, zygote),
            WITHIN_S,
            "another",
        )
    # Events are taken, whoever there is to send them.
    assert ready.statuses == {200}
    assert max(ready.seconds) < MOST_LAG_S
    wait_until(lambda: not set(serving(service)) & set(before), WITHIN_S, "others serve")
    post(service.url, [track(f"m{n}") for n in range(20)])
    service.wait_for(lambda books: books["delivered_first_try"] == 20, WITHIN_S)
    assert ("zygote", "it has not answered within 10 s") in named(service)
    assert not psutil.pid_exists(zygote)
    assert (
        "no answer from zygote"
        in service.command("status", "--config", str(service.config_path)).stdout
    )


def test_the_service_stops_while_the_zygote_stands_still(
    running_service: StartService, sink: SinkProcess
) -> None:
    """It is killed with the rest."""
    service = running_service(webhook_sections(sink.url, workers=2, spares=1))
    serving(service)
    zygote = service.admin("/status")["zygote"]["pid"]
    os.kill(zygote, signal.SIGSTOP)
    service.stop()
    assert not psutil.pid_exists(zygote)


def test_a_declaring_worker_that_stands_still_accuses_no_destination(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Another one declares, the reload goes through, and the destination serves."""
    sections = webhook_sections(sink.url, workers=1, spares=0)
    service = running_service(
        {
            **sections,
            "service": {"plugin_paths": [PLUGINS]},
            "destinations.slow": {"class": "slow_import:Slow"},
            "connections.slow": {"source": "test", "destination": "slow"},
        }
    )
    stopping = stop_next(lambda: children(service.pid))
    os.kill(service.pid, signal.SIGHUP)
    stopping.join()
    wait_until(lambda: "config_reloaded" in service.log_tail(), WITHIN_S, "the reload is done")
    (one,) = named(service)
    assert one[0] == "default#declare"
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 2, WITHIN_S)


def test_a_copy_that_stands_still_is_ended(
    running_service: StartService, sink: SinkProcess
) -> None:
    """The snapshot fails with that reason, and the next one is taken."""
    service = running_service(webhook_sections(sink.url, workers=1, spares=0))
    wait_until(lambda: len(service.worker_pids()) == 1, WITHIN_S, "the worker serves")
    (worker,) = service.worker_pids()
    stopping = stop_next(lambda: children(worker))
    status, body = service.ask(HEAP, WITHIN_S)
    stopping.join()
    assert status >= 400
    assert b"stood still" in body
    assert [who for who, _ in named(service)] == ["default-1"]
    # The worker takes a moment to see that its copy is gone.
    wait_until(lambda: service.ask(HEAP, WITHIN_S)[0] == 200, WITHIN_S, "the next one is taken")


def test_a_report_that_stands_still_is_ended(
    running_service: StartService, sink: SinkProcess
) -> None:
    """It fails with that reason, and the next one is made."""
    service = running_service(webhook_sections(sink.url, workers=1, spares=0))
    wait_until(lambda: len(service.worker_pids()) == 1, WITHIN_S, "the worker serves")
    assert service.ask(HEAP, WITHIN_S)[0] == 200
    (snapshot,) = service.admin("/debug/snapshots")["snapshots"]
    path = f"/debug/snapshots/{snapshot['name']}/report"
    stopping = stop_next(lambda: children(service.pid, of="sandbox.heap.report"))
    status, body = service.ask(path, WITHIN_S)
    stopping.join()
    assert status >= 400
    assert b"stood still" in body
    assert [who for who, _ in named(service)] == [f"report of {snapshot['name']}"]
    assert service.ask(path, WITHIN_S)[0] == 200
