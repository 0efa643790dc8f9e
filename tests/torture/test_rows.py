"""Every row of the torture list, with real processes: who is blamed, and who loses nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest

from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import ROWS, Row
from tests.torture.sections import sections

#: Seconds for what takes one or two on a quiet machine.
PATIENCE_S = 60.0
#: How lines that a destination wrote are called in the log.
_WRITTEN = "destination_log|worker_printed"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all rows, so that each of them has all others beside it."""
    running = RunningService(tmp_path_factory.mktemp("torture"), sections(ROWS))
    with closing(_Killed(running)):
        running.start()
        wait_until(lambda: _is_whole(running), PATIENCE_S, "all workers and spares are there")
        before = _left_behind(running)
        for row in ROWS:
            events = [track(f"{row.name}-{n}") for n in range(9)]
            for n in range(row.bad_events):
                events.insert(5, track(f"{row.name}-bad-{n}", "Bad"))
            post(running.url, events, write_key=f"key-{row.name}")
        yield running
        wait_until(lambda: _is_whole(running), PATIENCE_S, "all workers and spares are there again")
        books = running.books()
        audit = running.command("audit", "--config", str(running.config_path))
        assert audit.returncode == 0, (books, audit.stdout)
        _assert_nothing_left(running, before)
        children = psutil.Process(running.pid).children(recursive=True)
        running.stop()
        assert not psutil.wait_procs(children, timeout=10)[1]


class _Killed:
    """Whatever a test does, the service ends with the module."""

    def __init__(self, running: RunningService) -> None:
        self.close = running.kill


def _is_whole(running: RunningService) -> bool:
    pools = running.admin("/status")["pools"]
    workers = [w for pool in pools for w in (*pool["workers"], *pool["spares"])]
    return all(pool["spares"] for pool in pools) and all(w["state"] == "idle" for w in workers)


def _left_behind(running: RunningService) -> tuple[int, int]:
    process = psutil.Process(running.pid)
    return len(process.children(recursive=True)), process.num_fds()


def _assert_nothing_left(running: RunningService, before: tuple[int, int]) -> None:
    """No process, and no descriptor but those of the queue and of clients."""

    def is_clean() -> bool:
        processes, descriptors = _left_behind(running)
        return processes <= before[0] and descriptors <= before[1] + 20

    wait_until(is_clean, PATIENCE_S, f"processes and descriptors as before: {before}")


def _books(service: RunningService, connection: str) -> dict[str, int]:
    books: dict[str, int] = service.admin("/books")["connections"][connection]
    return books


def _exits(service: RunningService, pool: str) -> list[dict[str, Any]]:
    """Exits of a pool's workers that nobody had planned, newest first."""
    found: list[dict[str, Any]] = service.admin(f"/debug/exits?pool={pool}")["exits"]
    return [end for end in found if end["reason"] != "recycle"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(service: RunningService, row: Row) -> None:
    """The culprit is named with its evidence, and innocents in its batch and beside it arrive."""
    try:
        _check(service, row)
    finally:
        # It has shown what it does; the other rows may have its CPU.
        service.admin(f"/connections/{row.name}-bad/pause", "POST")


def _check(service: RunningService, row: Row) -> None:
    _wait_for_delivered(service, f"{row.name}-good", 9 + row.bad_events)
    innocents = 9 + (row.bad_events if row.are_delivered else 0)
    _wait_for_delivered(service, f"{row.name}-bad", innocents)
    if row.is_quarantined:
        _assert_quarantined(service, row)
    if row.error:
        wait_until(
            lambda: re.search(row.error, _last_error(service, row)) is not None,
            PATIENCE_S,
            f"{row.error!r} is said of the bad event",
        )
    for event, text in (("stray_exception", row.stray), (_WRITTEN, row.logs)):
        if text:
            _wait_for_log(service, row, event, text)
    if row.exits is None:
        assert _exits(service, row.name) == []
        return
    wait_until(lambda: bool(_exits(service, row.name)), PATIENCE_S, "an exit of its worker")
    for end in _exits(service, row.name):
        assert end["reason"] == row.exits, json.dumps(end)
        assert re.search(row.detail, end["detail"]), end
        assert end["connection"] == f"{row.name}-bad", end
        assert end["usage"]["max_rss_bytes"] > 0
        if row.stacks:
            text = service.admin(f"/debug/exits/{end['id']}")["stacks_text"]
            assert re.search(row.stacks, text), text


def _wait_for_log(service: RunningService, row: Row, event: str, text: str) -> None:
    def is_logged() -> bool:
        with service.log_path.open() as log:
            return any(
                f'"connection": "{row.name}-bad"' in line
                and re.search(f'"message": "({event})"', line)
                and re.search(text, line)
                for line in log
            )

    wait_until(is_logged, PATIENCE_S, f"{text!r} is in the log under the connection's name")


def _assert_quarantined(service: RunningService, row: Row) -> None:
    """Each bad event is a dead letter that says what it did, and nobody else is."""
    connection = f"{row.name}-bad"
    wait_until(
        lambda: _books(service, connection)["quarantined"] == row.bad_events,
        PATIENCE_S,
        f"the bad events of {connection} are quarantined",
    )
    letters = service.admin(f"/deadletters?connection={connection}")["deadletters"]
    assert {letter["message_id"] for letter in letters} == {
        f"{row.name}-bad-{n}" for n in range(row.bad_events)
    }
    assert {letter["outcome"] for letter in letters} == {"quarantined"}
    assert all(re.search(row.detail, letter["reason"]) for letter in letters), letters
    blame = service.queue_of(connection)["blame"]
    assert blame["worker_deaths"] >= 3, blame
    assert blame["quarantined"] == row.bad_events, blame
    assert service.queue_of(f"{row.name}-good")["blame"]["worker_deaths"] == 0


def _wait_for_delivered(service: RunningService, connection: str, events: int) -> None:
    def are_delivered() -> bool:
        books = _books(service, connection)
        return books["delivered_first_try"] + books["delivered_on_retry"] >= events

    wait_until(are_delivered, PATIENCE_S, f"{events} events of {connection} delivered")


def _last_error(service: RunningService, row: Row) -> str:
    deliveries = service.admin(f"/events/{row.name}-bad-0")["deliveries"]
    (found,) = [d for d in deliveries if d["connection"] == f"{row.name}-bad"]
    return found["last_error"] or ""
