"""The kernel refuses: no descriptor is left while workers and the zygote have to be replaced."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.harness.files import open_files
from tests.harness.manager import MOST_LAG_S, Answers, asked_all_the_while
from tests.harness.service import RunningService, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: What systemd is told, and its watchdog, are judged in each of these tests.
pytestmark = pytest.mark.usefixtures("managed")

#: Seconds for what takes a moment, on a busy machine.
WITHIN_S = 40.0
#: Few enough to be used up by clients.
FILES = 160


@contextmanager
def started(sink: SinkProcess, tmp_path: Path) -> Iterator[RunningService]:
    """A service of two workers and a spare that may have FILES descriptors."""
    service = RunningService(
        tmp_path,
        {**webhook_sections(sink.url, workers=2, spares=1), "service": {"drain_timeout": "2s"}},
        prefix=("/bin/sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh"),
    )
    service.start()
    try:
        yield service
    finally:
        service.kill()


def serving(service: RunningService) -> list[int]:
    """Process ids of both workers, once both serve."""
    wait_until(lambda: len(service.worker_pids()) == 2, WITHIN_S, "both workers serve")
    return service.worker_pids()


def is_taken(service: RunningService, message_id: str) -> bool:
    """Whether there is room for an event now: a client that is told 503 tries again.

    It is told before it has sent all, so that it may find its connection closed.
    """
    try:
        post(service.url, [track(message_id)])
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return False
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ConnectionError):
            raise
        return False
    return True


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_idle_clients_keep_neither_operators_nor_workers_out(
    sink: SinkProcess, tmp_path: Path
) -> None:
    """With more idle clients than it may have open files the admin API answers, workers that are
    killed are replaced, and when the clients leave the tracking API answers, too."""
    with started(sink, tmp_path) as service, ExitStack() as clients:
        before = serving(service)
        for _ in range(FILES):
            clients.enter_context(socket.create_connection(("127.0.0.1", service.api_port), 10))
        kill(before)
        wait_until(
            lambda: len(set(service.worker_pids()) - set(before)) == 2, WITHIN_S, "others serve"
        )
        assert service.command("status", "--config", str(service.config_path)).returncode == 0
        assert "connections_not_taken" in service.log_tail()
        clients.close()
        wait_until(lambda: is_taken(service, "after"), WITHIN_S, "an event is taken")
        service.wait_for(lambda books: books["delivered_first_try"] == 1, WITHIN_S)
        service.stop()


def test_a_client_for_whom_there_is_no_room_is_told(sink: SinkProcess, tmp_path: Path) -> None:
    """It gets 503 with Retry-After, and room again when another one leaves."""
    with started(sink, tmp_path) as service, ExitStack() as clients:
        for _ in range(FILES):
            clients.enter_context(socket.create_connection(("127.0.0.1", service.api_port), 10))
        with socket.create_connection(("127.0.0.1", service.api_port), 10) as late:
            answer = late.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in answer
        assert b"too_many_connections" in answer
        clients.close()
        wait_until(lambda: is_taken(service, "after"), WITHIN_S, "an event is taken")
        service.stop()


@contextmanager
def nothing_more(service: RunningService, health: Answers | None = None) -> Iterator[None]:
    """No descriptor that the service does not have already is to be had.

    Not before it has answered those who ask for its `health`, so that they are connected.
    """
    if health is not None:
        wait_until(lambda: bool(health.seconds), WITHIN_S, "it is asked")
    before = resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (3, FILES))
    try:
        yield
    finally:
        if service.is_started:
            resource.prlimit(service.pid, resource.RLIMIT_NOFILE, before)


def test_what_the_kernel_refuses_is_tried_again(sink: SinkProcess, tmp_path: Path) -> None:
    """Workers and zygote die while not one descriptor is to be had: the log says why none comes,
    nothing half-made stays open, and when there is room both come back."""
    with started(sink, tmp_path) as service:
        workers = serving(service)
        status = service.admin("/status")
        spares = [spare["pid"] for pool in status["pools"] for spare in pool["spares"]]
        files = len(open_files(service.pid))
        # Asked on a connection that is there: the kernel has none for a new one.
        with asked_all_the_while(service.admin_port) as health, nothing_more(service, health):
            kill([*workers, *spares])
            wait_until(
                lambda: "nothing to fork it with: Too many open files" in service.log_tail(),
                WITHIN_S,
                "the log says why",
            )
            kill([status["zygote"]["pid"]])
            wait_until(
                lambda: "zygote_not_started" in service.log_tail(),
                WITHIN_S,
                "the same of the zygote",
            )
        assert health.statuses == {200}
        assert max(health.seconds) < MOST_LAG_S
        post(service.url, [track(f"m{n}") for n in range(50)])
        service.wait_for(lambda books: books["delivered_first_try"] == 50, WITHIN_S)
        serving(service)
        wait_until(
            lambda: len(open_files(service.pid)) <= files + 2, WITHIN_S, "nothing stays open"
        )
        service.stop()


@pytest.mark.parametrize("killed", [False, True], ids=["workers live", "workers are gone"])
def test_it_stops_while_nothing_is_to_be_had(
    sink: SinkProcess, tmp_path: Path, killed: bool
) -> None:
    """SIGTERM ends the service in time, whatever is refused meanwhile."""
    with started(sink, tmp_path) as service:
        workers = serving(service)
        with nothing_more(service):
            if killed:
                kill(workers)
                wait_until(
                    lambda: "nothing to fork it with" in service.log_tail(), WITHIN_S, "it is said"
                )
            began = time.monotonic()
            service.stop()
            assert time.monotonic() - began < WITHIN_S
