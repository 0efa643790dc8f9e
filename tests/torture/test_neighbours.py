"""One connection keeps event loops of workers from the others: what these notice of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import PLUGINS
from tests.torture.watching import metric

#: Seconds for what takes one or two on a quiet machine.
PATIENCE_S = 60.0
#: Seconds that a loop may be silent here: whatever is delivered before was not delivered by a
#: successor of the worker that is blocked.
BLOCK_TIMEOUT = "600s"


#: Connections beside the bad one: some of them share its worker.
GOOD = tuple(f"good-{number}" for number in range(5))


def sections(habit: str) -> dict[str, dict[str, object]]:
    """A connection that misbehaves in its bad events, and others that do not, of one source."""
    made: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "destinations.bad": {"class": "torture:Torture"},
        "destinations.good": {"class": "torture:Neighbour"},
        "pools.default": {"destinations": ["*"], "workers": 2, "block_timeout": BLOCK_TIMEOUT},
        "connections.bad": {
            "source": "test",
            "destination": "bad",
            "settings": {"habit": habit},
        },
    }
    for name in GOOD:
        made[f"connections.{name}"] = {"source": "test", "destination": "good"}
    return made


def test_neighbours_of_a_blocked_worker_are_delivered_by_the_others(tmp_path: Path) -> None:
    """Nothing more goes to it, and what it holds of them holds back nothing else of theirs."""
    service = RunningService(tmp_path, sections("sleeps"))
    try:
        service.start()
        # Batches of all connections are under way when the first event of one blocks its worker.
        post(service.url, [track(f"first-{n}", "Fine" if n else "Bad") for n in range(100)])
        sent = 0

        def are_delivered() -> bool:
            nonlocal sent
            post(service.url, [track(f"more-{sent}-{n}") for n in range(20)])
            sent += 1
            books = service.admin("/books")["connections"]
            return all(books[name]["delivered_first_try"] >= 300 for name in GOOD)

        wait_until(are_delivered, PATIENCE_S, "each of the neighbours has most of its events")
        status = service.admin("/status")
        assert [worker["restarts"] for worker in status["pools"][0]["workers"]] == [0, 0]
        bad = next(queue for queue in status["queues"] if queue["connection"] == "bad")
        assert bad["inflight"] > 0
    finally:
        service.kill()


@pytest.mark.parametrize("habit", ["blocks_for_a_moment", "takes_many_short_steps"])
def test_who_keeps_loops_from_the_others_runs_apart(tmp_path: Path, habit: str) -> None:
    """No worker dies of it and all is delivered; it is named, with what it does, and set apart."""
    service = RunningService(tmp_path, sections(habit))
    try:
        service.start()
        sent = 0

        def is_apart() -> bool:
            nonlocal sent
            names = ["Bad" if n == 0 else "Fine" for n in range(20)]
            post(service.url, [track(f"{sent}-{n}", name) for n, name in enumerate(names)])
            sent += 1
            return bool(service.queue_of("bad")["blame"]["hogged"])

        wait_until(is_apart, PATIENCE_S, "the bad one is found out")
        blame = service.queue_of("bad")["blame"]
        assert "kept the event loops of its workers from the others 3 times" in blame["hogs"], blame
        assert (blame["standing"], blame["worker_deaths"]) == ("unproven", 0), blame
        assert metric(service, 'bulkhead_connection_hogged_total{connection="bad"}') >= 1.0
        assert '"message": "connection_hogs"' in service.log_path.read_text()

        def is_all_delivered() -> bool:
            books = service.admin("/books")["connections"]
            return all(books[name]["delivered_first_try"] == 20 * sent for name in ("bad", *GOOD))

        wait_until(is_all_delivered, PATIENCE_S, "every event has arrived, on the first try")
        status = service.admin("/status")
        assert [worker["restarts"] for worker in status["pools"][0]["workers"]] == [0, 0]
        for name in GOOD:
            assert service.queue_of(name)["blame"]["hogged"] == 0
    finally:
        service.kill()


def test_worker_of_a_hog_is_left_to_it(tmp_path: Path) -> None:
    """Its batch goes on where it began, and what comes then for others goes elsewhere."""
    service = RunningService(tmp_path, sections("never_rests"))
    try:
        service.start()
        sent = 0

        def send(name: str) -> None:
            nonlocal sent
            post(service.url, [track(f"{sent}-{n}", "Fine" if n else name) for n in range(20)])
            sent += 1

        def are_delivered() -> bool:
            books = service.admin("/books")["connections"]
            return all(books[name]["delivered_first_try"] == 20 * sent for name in GOOD)

        def is_found() -> bool:
            send("Fine")
            return bool(service.queue_of("bad")["blame"]["hogged"])

        send("Bad")
        wait_until(is_found, PATIENCE_S, "the bad one is found out")
        wait_until(are_delivered, PATIENCE_S, "what the others had until then has arrived")
        (before,) = [worker for worker in _workers(service) if worker["inflight_batches"]]
        for _ in range(5):
            send("Fine")
            wait_until(are_delivered, PATIENCE_S, "what came since has arrived")
        (after,) = [worker for worker in _workers(service) if worker["inflight_batches"]]
        assert (after["pid"], after["events"]) == (before["pid"], before["events"])
    finally:
        service.kill()


def _workers(service: RunningService) -> list[dict[str, Any]]:
    """Those that all connections share. Any: as the API answers."""
    return list(service.admin("/status")["pools"][0]["workers"])
