"""One connection keeps a worker's event loop for as long as it is let: what the others notice."""

from __future__ import annotations

from pathlib import Path

from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import PLUGINS

#: Seconds for what takes one or two on a quiet machine.
PATIENCE_S = 60.0
#: Seconds that a loop may be silent here: whatever is delivered before was not delivered by a
#: successor of the worker that is blocked.
BLOCK_TIMEOUT = "600s"


#: Connections beside the bad one: some of them share its worker.
GOOD = tuple(f"good-{number}" for number in range(5))


def sections() -> dict[str, dict[str, object]]:
    """A connection that sleeps in its first bad event, and others that do not, of one source."""
    made: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "destinations.bad": {"class": "torture:Torture"},
        "destinations.good": {"class": "torture:Neighbour"},
        "pools.default": {"destinations": ["*"], "workers": 2, "block_timeout": BLOCK_TIMEOUT},
        "connections.bad": {
            "source": "test",
            "destination": "bad",
            "settings": {"habit": "sleeps"},
        },
    }
    for name in GOOD:
        made[f"connections.{name}"] = {"source": "test", "destination": "good"}
    return made


def test_neighbours_of_a_blocked_worker_are_delivered_by_the_others(tmp_path: Path) -> None:
    """Nothing more goes to it, and what it holds of them holds back nothing else of theirs."""
    service = RunningService(tmp_path, sections())
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
