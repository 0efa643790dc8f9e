"""Evidence from real workers: they go on, whatever becomes of what is asked of them."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor.diagnostics.snapshots import RESERVE_BYTES
from tests.conftest import StartService
from tests.harness.disks import small_disk
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")
#: Objects that make a heap of some 60 MB, and so a file of more than the sockets' buffers.
MANY = 100_000
HEAP = "/debug/workers/default-1/heap"
SLOW_S = 60.0

#: Starts a service whose only worker has hoarded so many objects.
Hoarder = Callable[..., RunningService]


def hoarding(**settings: object) -> dict[str, dict[str, object]]:
    """A config with one connection to the hoarder, in a pool of one worker."""
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "spares": 0,
            "block_timeout": "60s",
            "memory_limit": "1GiB",
        },
        "destinations.hoarder": {"class": "hoarder:Hoarder"},
        "connections.trial": {"source": "test", "destination": "hoarder", "settings": settings},
    }


def get(
    service: RunningService, path: str, method: str = "GET", timeout_s: float = SLOW_S
) -> tuple[int, bytes]:
    """Status and body of the admin API's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=timeout_s)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def snapshots(service: RunningService) -> list[dict[str, Any]]:
    """What is kept. Any: JSON."""
    listed: list[dict[str, Any]] = service.admin("/debug/snapshots")["snapshots"]
    return listed


def serving(service: RunningService) -> psutil.Process:
    """The only worker, once it serves."""
    wait_until(lambda: len(service.worker_pids()) == 1, 20, "the worker serves")
    return psutil.Process(service.worker_pids()[0])


def is_gathering(service: RunningService) -> bool:
    """Whether a copy of the worker is at work."""
    return bool(serving(service).children())


@pytest.fixture
def hoarder(running_service: StartService) -> Hoarder:
    """Starts a service whose only worker has hoarded so many objects."""

    def start(objects: int = MANY) -> RunningService:
        service = running_service(hoarding(objects=objects))
        post(service.url, [track("m1")])
        service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=30)
        return service

    return start


@contextmanager
def being_taken(service: RunningService) -> Iterator[Future[tuple[int, bytes]]]:
    """While a copy of the worker writes the heap that was asked for; in the end, the answer."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, service, HEAP)
        wait_until(lambda: is_gathering(service), 20, "the snapshot is being taken")
        yield asked


def left_over(service: RunningService) -> list[Path]:
    """Files of snapshots that are not whole."""
    return list((service.directory / "state" / "snapshots").glob("*.partial"))


def test_a_heap_is_had_while_the_worker_goes_on(hoarder: Hoarder) -> None:
    """The snapshot holds what the destination hoards; its worker is the same, and serves."""
    service = hoarder(1000)
    pid = serving(service).pid
    status, body = get(service, HEAP)
    assert status == 200
    heap = json.loads(body)
    assert heap["snapshot"]["node_count"] * 7 == len(heap["nodes"])
    assert "['HOARD']" in heap["strings"]
    (kept,) = snapshots(service)
    assert (kept["worker"], kept["pid"], kept["reason"]) == ("default-1", pid, "request")
    assert kept["size_bytes"] == len(body)
    post(service.url, [track("m2")])
    service.wait_for(lambda books: books["delivered_first_try"] == 2, within_s=20)
    assert serving(service).pid == pid
    wait_until(lambda: not is_gathering(service), 20, "the copy is gone")


def test_a_heap_that_fills_most_of_its_limit_costs_the_worker_nothing(
    running_service: StartService,
) -> None:
    """Its copy comes to have as much again, which is no doing of the worker's."""
    sections = hoarding(objects=400_000)
    sections["pools.default"] |= {"memory_limit": "192MiB", "memory_soft_limit": "180MiB"}
    service = running_service(sections)
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=30)
    pid = serving(service).pid
    for _ in range(2):
        status, body = get(service, HEAP)
        assert (status, b"HOARD" in body) == (200, True), body[:300]
    assert serving(service).pid == pid


def test_a_kept_snapshot_is_reported(hoarder: Hoarder) -> None:
    """It names what is hoarded; the process that reads it is taken for no stray."""
    service = hoarder(20_000)
    assert get(service, HEAP)[0] == 200
    (kept,) = snapshots(service)
    status, body = get(service, f"/debug/snapshots/{kept['name']}/report")
    assert (status, b"hoarder.HOARD" in body) == (200, True)
    assert "stray_process_killed" not in service.log_path.read_text()


def test_of_two_that_ask_at_once_one_is_told_to_wait(hoarder: Hoarder) -> None:
    """A pool gives one piece at a time; the other gets 409 and what to do."""
    service = hoarder()
    with being_taken(service) as first:
        status, body = get(service, HEAP)
        assert status == 409
        assert "ask again in a few seconds" in json.loads(body)["message"]
        assert first.result()[0] == 200


def test_the_next_one_is_had_at_once(hoarder: Hoarder) -> None:
    """A copy that has written all and still frees its memory is in nobody's way."""
    service = hoarder()
    for _ in range(4):
        assert get(service, f"{HEAP}?format=summary")[0] == 200


def test_a_client_that_goes_away_stops_the_work(hoarder: Hoarder) -> None:
    """The copy ends, nothing is kept, and the next one that asks is served."""
    service = hoarder()
    with socket.create_connection(("127.0.0.1", service.admin_port)) as impatient:
        impatient.sendall(f"GET {HEAP} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_until(lambda: is_gathering(service), 20, "the snapshot is being taken")
    wait_until(lambda: not is_gathering(service), 10, "the copy is gone")
    wait_until(lambda: not left_over(service), 10, "nothing is left of it")
    assert snapshots(service) == []
    assert get(service, HEAP)[0] == 200


def test_a_slow_client_costs_the_supervisor_nothing(hoarder: Hoarder) -> None:
    """It waits with a piece of the file in memory, not with the file."""
    service = hoarder()
    assert get(service, HEAP)[0] == 200
    (kept,) = snapshots(service)
    assert kept["size_bytes"] > 20_000_000
    supervisor = psutil.Process(service.pid)
    before = supervisor.memory_info().rss
    slow = [socket.create_connection(("127.0.0.1", service.admin_port)) for _ in range(4)]
    try:
        for client in slow:
            client.sendall(
                f"GET /debug/snapshots/{kept['name']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            assert client.recv(64).startswith(b"HTTP/1.1 200 OK")
        assert get(service, "/status")[0] == 200
        assert supervisor.memory_info().rss - before < kept["size_bytes"] / 2
    finally:
        for client in slow:
            client.close()


def test_a_hung_worker_shows_its_stacks_and_says_that_its_heap_is_not_to_be_had(
    running_service: StartService,
) -> None:
    """The line that spins is in the stacks; a heap is refused with the reason."""
    service = running_service(hoarding(seconds=120.0))
    serving(service)
    post(service.url, [track("m1", "Spin")])
    wait_until(
        lambda: b"hoarder.py" in get(service, "/debug/workers/default-1/stacks")[1],
        20,
        "the destination spins",
    )
    status, body = get(service, "/debug/workers/default-1/stacks")
    assert status == 200
    assert b"in deliver" in body
    assert b"its event loop is blocked" in body
    status, body = get(service, HEAP)
    assert status == 503
    assert "its stacks can still be had" in json.loads(body)["message"]
    assert snapshots(service) == []
    assert not left_over(service)
    service.kill()  # nobody waits for the end of the spin


def test_a_worker_that_waits_shows_where(running_service: StartService) -> None:
    """Its task tells the chain of awaits."""
    service = running_service(hoarding(seconds=2.0))
    serving(service)
    post(service.url, [track("m1", "Wait")])
    wait_until(
        lambda: b"await asyncio.sleep" in get(service, "/debug/workers/default-1/stacks")[1],
        20,
        "the destination waits",
    )


def test_a_worker_that_dies_in_the_middle_leaves_nothing_half_written(
    hoarder: Hoarder,
) -> None:
    """Whoever asked is told, and the copy dies with it."""
    service = hoarder()
    worker = serving(service)
    with being_taken(service) as asked:
        (copy,) = worker.children()
        worker.kill()
        status, body = asked.result()
    assert status == 503
    assert "ended while its heapsnapshot was written" in json.loads(body)["message"]
    wait_until(lambda: not copy.is_running(), 10, "the copy is gone")
    assert snapshots(service) == []
    assert not left_over(service)


def test_a_copy_that_dies_costs_the_worker_nothing(hoarder: Hoarder) -> None:
    """Killed by the kernel for its memory, say: the worker serves on, and the reason is told."""
    service = hoarder()
    worker = serving(service)
    with being_taken(service) as asked:
        worker.children()[0].kill()
        status, body = asked.result()
    assert status == 503
    assert "the copy of the worker was ended by SIGKILL" in json.loads(body)["message"]
    assert serving(service).pid == worker.pid


def test_a_stop_lets_a_snapshot_end(hoarder: Hoarder) -> None:
    """Who asked before the stop gets it, and it is there after the next start."""
    service = hoarder()
    with being_taken(service) as asked:
        service.stop()
        status, body = asked.result()
    assert status == 200
    service.start()
    assert [kept["size_bytes"] for kept in snapshots(service)] == [len(body)]
    assert not left_over(service)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a queue."""
    with small_disk(tmp_path / "disk", 64 * 1024**2) as path:
        yield path


def test_a_full_disk_is_told_and_the_service_goes_on(
    running_service: StartService, disk: Path
) -> None:
    """There is no room for a snapshot beside the queue; events are delivered all the same."""
    sections = hoarding(objects=10)
    sections["service"]["state_dir"] = str(disk)
    service = running_service(sections)
    serving(service)
    status, body = get(service, HEAP)
    assert status == 503
    assert "make room, or delete old ones" in json.loads(body)["message"]
    post(service.url, [track("m1")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, within_s=20)


def test_evidence_without_end_leaves_the_queue_its_disk(
    running_service: StartService, tmp_path: Path
) -> None:
    """It is ended while it arrives, before the disk has less than the queue's reserve, and leaves
    nothing behind; events are taken and delivered all the while."""
    with small_disk(tmp_path / "disk", RESERVE_BYTES + 256 * 1024**2) as disk:
        sections = hoarding(objects=10)
        sections["service"]["state_dir"] = str(disk)
        sections["destinations.hoarder"] = {"class": "endless:Endless"}
        service = running_service(sections)
        serving(service)
        before = shutil.disk_usage(disk).free
        free, sent = [before], 0
        for _ in range(2):
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(get, service, HEAP)
                while True:
                    sent += 1
                    post(service.url, [track(f"m{sent}")])
                    free.append(shutil.disk_usage(disk).free)
                    if asked.done():
                        break
            status, body = asked.result()
            assert status == 503, body
            assert "which the queue needs" in json.loads(body)["message"]
        assert min(free) > RESERVE_BYTES - 8 * 1024**2
        wait_until(lambda: not list((disk / "snapshots").glob("*.partial")), 10, "it is removed")
        assert shutil.disk_usage(disk).free > before - 64 * 1024**2
        service.wait_for(lambda books: books["delivered_first_try"] == sent, within_s=30)
        service.stop()


def test_a_profile_shows_what_takes_the_time(running_service: StartService) -> None:
    """A speedscope file with the destination's function in it."""
    service = running_service(hoarding(seconds=0.3))
    serving(service)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, service, "/debug/workers/default-1/profile?seconds=3")
        for n in range(6):
            post(service.url, [track(f"m{n}", "Spin")])
        status, body = asked.result()
    assert status == 200
    frames = json.loads(body)["shared"]["frames"]
    assert any(frame["file"].endswith("hoarder.py") for frame in frames)
