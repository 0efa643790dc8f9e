"""What the console's rows say of a real service's workers."""

from __future__ import annotations

import os
import signal

from tests.conftest import StartService
from tests.harness.service import webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track


def test_open_connections_are_told_and_stand_in_the_exit(running_service: StartService) -> None:
    """By worker and connection, by the kernel's word, and with their last minute at the end."""
    with SinkProcess() as sink:
        service = running_service(webhook_sections(sink.url, workers=1))
        post(service.url, [track(f"m{n}") for n in range(20)])
        service.wait_for(lambda books: books["delivered_first_try"] == 20, 60)

        def open_now() -> int:
            (worker,) = service.admin("/pools/default")["workers"]
            found = worker["open_connections"]
            assert found.keys() <= {"hook"}
            return int(found.get("hook", 0))

        # The client keeps its connections for the next batch.
        wait_until(lambda: open_now() > 0, 60, "an open connection is told")
        (worker,) = service.admin("/pools/default")["workers"]
        assert worker["open_curve"][-1][1] == sum(worker["open_connections"].values())
        assert len(worker["rss_curve"]) == len(worker["open_curve"])
        assert worker["memory_limit_bytes"] > worker["memory_soft_bytes"] > 0
        assert service.admin(f"/workers/{worker['id']}")["pid"] == worker["pid"]
        status, page = service.ask("/metrics", 30)
        assert status == 200
        line = b'bulkhead_worker_connections{pool="default",worker="default-1"} '
        (value,) = [row.split()[1] for row in page.splitlines() if row.startswith(line)]
        assert float(value) >= 1
        os.kill(worker["pid"], signal.SIGKILL)
        end = service.first_exit()
        assert end["open_connections"]["hook"] >= 1
        assert end["open_curve"][-1][1] == sum(end["open_connections"].values())
        assert end["id"] in [one["id"] for one in service.admin("/pools/default")["exits"]]


def test_the_console_is_there_and_can_be_turned_off(running_service: StartService) -> None:
    """Its page and rows by default; without it none of them, and the rest as ever."""
    with SinkProcess() as sink:
        service = running_service(webhook_sections(sink.url))
        assert service.ask("/console/", 30)[0] == 200
        overview = service.admin("/console/api/overview")
        assert overview["queues"]["total"] == 1
        service.admin("/console/api/connections/hook/pause", "POST")
        (line,) = service.admin("/activity")["activity"]
        assert (line["action"], line["on"]) == ("pause", "hook")
        service.sections = {**service.sections, "console": {"enabled": False}}
        service.write_config()
        os.kill(service.pid, signal.SIGHUP)
        wait_until(lambda: service.ask("/console/", 30)[0] == 404, 60, "the page is gone")
        for path in ("/overview", "/console/api/overview", "/console/api/status", "/live"):
            assert service.ask(path, 30)[0] == 404, path
        assert service.admin("/status")["queues"][0]["state"] == "paused"
