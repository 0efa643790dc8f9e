"""A service under torture, and what is looked at: books, exits, and what is left behind."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.harness.service import RunningService
from tests.harness.waiting import wait_until

#: Seconds for what takes one or two on a quiet machine.
PATIENCE_S = 60.0
#: Descriptors that the supervisor may have more at the end: of the queue, and of clients.
_MORE_DESCRIPTORS = 20


@contextmanager
def one_service(
    directory: Path, sections: Mapping[str, Mapping[str, object]]
) -> Iterator[RunningService]:
    """A service for a whole module.

    At its end the books balance, and nothing is left behind: while it runs no process,
    descriptor or file more than before, and after it has stopped no process at all.
    """
    running = RunningService(directory, sections)
    try:
        running.start()
        wait_until(lambda: _is_whole(running), PATIENCE_S, "all workers and spares are there")
        before = _left_behind(running)
        yield running
        wait_until(lambda: _is_whole(running), PATIENCE_S, "all workers and spares are there again")
        books = running.books()
        audit = running.command("audit", "--config", str(running.config_path))
        assert audit.returncode == 0, (books, audit.stdout)
        try:
            wait_until(lambda: _is_clean(running, before), PATIENCE_S, "all is as before")
        except TimeoutError as error:
            now = _left_behind(running)
            what = "processes, descriptors and folders"
            raise TimeoutError(f"{error}: {what} were {before}, are {now}") from error
        children = psutil.Process(running.pid).children(recursive=True)
        running.stop()
        assert not psutil.wait_procs(children, timeout=10)[1]
        assert not _folders(running)
    finally:
        # Whatever a test does, the service ends with the module.
        running.kill()


def _is_whole(running: RunningService) -> bool:
    pools = running.admin("/status")["pools"]
    workers = [w for pool in pools for w in (*pool["workers"], *pool["spares"])]
    return all(pool["spares"] for pool in pools) and all(w["state"] == "idle" for w in workers)


def _is_clean(running: RunningService, before: tuple[int, int, int]) -> bool:
    processes, descriptors, folders = _left_behind(running)
    return (
        processes <= before[0]
        and descriptors <= before[1] + _MORE_DESCRIPTORS
        and folders <= before[2]
    )


def _left_behind(running: RunningService) -> tuple[int, int, int]:
    """Processes, descriptors of the supervisor, and scratch folders of workers."""
    process = psutil.Process(running.pid)
    return len(process.children(recursive=True)), process.num_fds(), len(_folders(running))


def _folders(running: RunningService) -> list[Path]:
    return list((running.directory / "state" / "scratch").iterdir())


def books_of(service: RunningService, connection: str) -> dict[str, int]:
    """A connection's own."""
    books: dict[str, int] = service.admin("/books")["connections"][connection]
    return books


def exits_of(service: RunningService, pool: str) -> list[dict[str, Any]]:  # Any: JSON
    """Exits of a pool's workers that nobody had planned, newest first."""
    return service.exits(pool=pool)


def wait_for_delivered(service: RunningService, connection: str, events: int) -> None:
    """Wait until so many events of a connection are delivered."""

    def are_delivered() -> bool:
        books = books_of(service, connection)
        return books["delivered_first_try"] + books["delivered_on_retry"] >= events

    wait_until(are_delivered, PATIENCE_S, f"{events} events of {connection} delivered")


def metric(service: RunningService, series: str) -> float:
    """What Prometheus reads; 0 where there is no such series."""
    page = f"http://127.0.0.1:{service.admin_port}/metrics"
    with urllib.request.urlopen(page, timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
    return 0.0
