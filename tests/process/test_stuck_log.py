"""Standard error is not read: a collector that hangs, a terminal that is paused."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Literal

import pytest

from tests.harness.manager import MOST_LAG_S, asked_all_the_while
from tests.harness.service import RunningService, ServiceFailed, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.stuck import flooded, stuck
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: What systemd is told, and its watchdog, are judged in each of these tests.
pytestmark = pytest.mark.usefixtures("managed")

#: Seconds that an answer or a stop may take on a busy machine; a service that hangs gives none.
WITHIN_S = 20.0


def quick(url: str) -> float:
    """Seconds until an answer of 200."""
    began = time.monotonic()
    with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:  # noqa: S310 - a service of ours
        assert answer.status == 200
    return time.monotonic() - began


def read_all(descriptor: int) -> bytes:
    """What is there to be read now."""
    data = b""
    while True:
        try:
            data += os.read(descriptor, 1024 * 1024)
        except BlockingIOError:
            return data


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_log_that_nobody_reads_stops_nothing(
    kind: Literal["pipe", "terminal"], sink: SinkProcess, tmp_path: Path
) -> None:
    """Start, deliveries, refusals, deaths, reloads, both APIs and the stop go on, and lines that
    are lost are counted and told once somebody reads again."""
    with stuck(kind) as (ours, theirs):
        service = RunningService(tmp_path, webhook_sections(sink.url), output=theirs)
        service.start()
        try:
            post(service.url, [track(f"good-{n}") for n in range(200)])
            service.wait_for(lambda books: books["pending"] == 0, WITHIN_S)
            sink.answer_with(400)
            post(service.url, [track(f"refused-{n}") for n in range(500)])
            service.wait_for(lambda books: books["failed"] == 500, WITHIN_S)
            sink.answer_with(200)
            zygote = service.admin("/status")["zygote"]["pid"]
            for pid in (*service.worker_pids(), zygote):
                os.kill(pid, signal.SIGKILL)
            post(service.url, [track(f"after-{n}") for n in range(200)])
            service.wait_for(lambda books: books["delivered_first_try"] == 400, WITHIN_S)
            assert service.metric("bulkhead_log_lines_dropped_total") == 0

            with asked_all_the_while(service.api_port) as health:
                flooded(service, 60)
            assert max(health.seconds) < MOST_LAG_S
            assert health.statuses == {200}
            assert quick(f"{service.url}/ready") < WITHIN_S
            post(service.url, [track(f"full-{n}") for n in range(200)])
            service.wait_for(lambda books: books["delivered_first_try"] == 600, WITHIN_S)

            seen = b""

            def is_told() -> bool:
                nonlocal seen
                seen = (seen + read_all(ours))[-1_000_000:]
                return b"log_lines_dropped" in seen

            wait_until(is_told, 60, "the loss is told")
        finally:
            os.kill(service.pid, signal.SIGTERM)
            began = time.monotonic()
            service.stop()
            assert time.monotonic() - began < WITHIN_S


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_it_stops_in_time_while_nobody_reads(
    kind: Literal["pipe", "terminal"], sink: SinkProcess, tmp_path: Path
) -> None:
    """SIGTERM ends the service, and a start that fails ends by itself."""
    with stuck(kind) as (_, theirs):
        service = RunningService(tmp_path, webhook_sections(sink.url), output=theirs)
        service.start()
        taken = RunningService(
            tmp_path / "taken", service.sections, output=theirs, admin_port=service.admin_port
        )
        try:
            with pytest.raises(ServiceFailed, match="exit status 2 at start"):
                taken.start()
            began = time.monotonic()
            service.stop()
            assert time.monotonic() - began < WITHIN_S
        finally:
            taken.kill()
            service.kill()
