"""One connection keeps event loops of workers from the others: what these notice of it."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
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


@pytest.mark.parametrize("habit", ["hoards", "orphans_a_child"])
def test_who_is_hinted_at_as_a_limit_is_found_is_tried_alone(tmp_path: Path, habit: str) -> None:
    """The others go on among themselves: none of them gets a worker of its own, or is charged."""
    made = sections(habit)
    made["pools.default"] |= {"memory_limit": "64MiB", "memory_soft_limit": "48MiB"}
    service = RunningService(tmp_path, made)
    try:
        service.start()
        post(service.url, [track(f"{n}", "Fine" if n else "Bad") for n in range(20)])

        def is_over() -> bool:
            books = service.admin("/books")["connections"]
            delivered = [books[name]["delivered_first_try"] for name in GOOD]
            return delivered == [20] * len(GOOD) and books["bad"]["quarantined"] == 1

        wait_until(is_over, PATIENCE_S, "the neighbours' events, and the end of the bad one")
        first = service.first_exit()
        assert first["reason"] in ("oom", "limit"), first
        assert first["connection"] in (None, "bad"), first
        lines = [json.loads(line) for line in service.log_path.read_text().splitlines()]
        apart = {line["connection"] for line in lines if line["message"] == "worker_serves_apart"}
        assert apart == {"bad"}
        assert service.queue_of("bad")["blame"]["worker_deaths"] >= 1
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
        # Named for what it does where it is alone: among the others it was but tried.
        assert "kept the event loop of its worker busy" in blame["hogs"], blame
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


def test_connection_that_computes_has_all_workers_while_it_is_alone(tmp_path: Path) -> None:
    """It is no noisy neighbour of nobody; it is one once others have work, and trusted after them.

    Each of that is said once, and no worker ends for it but the one that it had for itself.
    """
    made = sections("computes")
    made["sources.other"] = {"write_key": "key-other"}
    for name in GOOD:
        made[f"connections.{name}"]["source"] = "other"
    service = RunningService(tmp_path, made)
    try:
        service.start()
        sent = Counter[str]()

        def keep_busy() -> dict[str, Any]:
            # Long batches each, so that it has the event loops all the time.
            queue: dict[str, Any] = service.queue_of("bad")
            if queue["depth"] < 100:
                sent["bad"] += 50
                post(service.url, [track(f"bad-{sent['bad']}-{n}", "Bad") for n in range(50)])
            return queue

        def has_worked(events: int) -> bool:
            keep_busy()
            return all(worker["events"] >= events for worker in _workers(service))

        def is_apart() -> bool:
            sent["good"] += 1
            event = track(f"good-{sent['good']}")
            post(service.url, [event], write_key="key-other")
            blame = keep_busy()["blame"]
            return bool(blame["standing"] == "unproven" and blame["hogged"])

        def is_trusted() -> bool:
            standing: str = keep_busy()["blame"]["standing"]
            return standing == "trusted"

        def spares() -> list[int]:
            return [spare["pid"] for spare in service.admin("/status")["pools"][0]["spares"]]

        wait_until(lambda: bool(spares()), PATIENCE_S, "there is a spare")
        spare = spares()
        wait_until(partial(has_worked, 150), PATIENCE_S, "it has worked much in both workers")
        assert keep_busy()["blame"]["hogged"] == 0
        assert spares() == spare
        wait_until(is_apart, PATIENCE_S, "others came, it is set apart, and named")
        wait_until(is_trusted, PATIENCE_S, "they have nothing more, and it is trusted again")
        more = max(worker["events"] for worker in _workers(service)) + 50
        wait_until(partial(has_worked, more), PATIENCE_S, "it has all workers again")
        assert [worker["restarts"] for worker in _workers(service)] == [0, 0]
        with service.log_path.open() as log:
            said = Counter(json.loads(line)["message"] for line in log if line.startswith("{"))
        assert (said["connection_hogs"], said["connection_trusted_again"]) == (1, 1), said
        assert (said["worker_serves_apart"], said["worker_exited"]) == (1, 1), said
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
            standing: str = service.queue_of("bad")["blame"]["standing"]
            return standing == "unproven"

        send("Bad")
        # It is tried: what it does among others names nobody, and apart it may do no such thing.
        wait_until(is_found, PATIENCE_S, "the bad one is set apart")
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
