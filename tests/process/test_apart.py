"""What is told of a death: what became of each batch, and why a connection runs apart after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import StartService
from tests.harness.service import RunningService, writable
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")
WITHIN_S = 60.0
CALM_KEY = "calm-write-key"


def sections(folder: Path, trial: str, **settings: object) -> dict[str, dict[str, object]]:
    """A connection `trial` to a destination of `plugins/trials.py`, and a calm one beside it."""
    lines = folder / "lines"
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "retry": {"first_delay": "50ms", "max_delay": "500ms"},
        "pools.default": {
            "destinations": ["*"],
            "workers": 1,
            "spares": 1,
            "write_paths": sorted({writable(lines / name) for name in ("calm", "trial")}),
        },
        "sources.calm": {"write_key": CALM_KEY},
        "destinations.calm": {"class": "trials:Diary"},
        f"destinations.{trial.lower()}": {"class": f"trials:{trial}"},
        "connections.trial": {
            "source": "test",
            "destination": trial.lower(),
            "settings": settings,
        },
        "connections.calm": {
            "source": "calm",
            "destination": "calm",
            "settings": {"path": str(lines / "calm"), "seconds": 3.0},
        },
    }


def apart(service: RunningService) -> list[dict[str, Any]]:  # Any: JSON
    """Workers that one connection has for itself."""
    found: list[dict[str, Any]] = service.admin("/pools/default")["apart"]
    return found


def test_each_batch_of_a_dead_worker_is_accounted_for(
    running_service: StartService, tmp_path: Path
) -> None:
    """The killer's by what it had reported and what is tried, its neighbour's as sent again."""
    lines = tmp_path / "lines" / "trial"
    service = running_service(sections(tmp_path, "Fragile", path=str(lines)))
    post(service.url, [track(f"c{n}") for n in range(2)], write_key=CALM_KEY)

    def has_calm_batch() -> bool:
        (worker,) = service.admin("/pools/default")["workers"]
        return [one["connection"] for one in worker["batches"]] == ["calm"]

    wait_until(has_calm_batch, WITHIN_S, "the worker has the neighbour's batch")
    post(service.url, [track(f"m{n}", "Fatal" if n == 2 else "Fine") for n in range(5)])
    end = service.first_exit()
    assert (end["reason"], end["connections"]) == ("crash", ["calm", "trial"])
    wait_until(
        lambda: any(one["connection"] == "trial" for one in apart(service)),
        WITHIN_S,
        "it has a worker of its own",
    )
    why = service.queue_of("trial")["blame"]["apart"]
    assert (why["code"], why["exit"]) == ("worker_died", end["id"])
    assert "default-1 died of crash" in why["text"]
    assert service.queue_of("calm")["blame"]["apart"] is None
    (pool,) = service.admin("/status")["pools"]
    assert [one["why"]["code"] for one in pool["apart"]] == ["worker_died"]
    record = service.admin(f"/debug/exits/{end['id']}")
    batches = {one["connection"]: one for one in record["batches"]}
    assert record["more_batches"] == 0
    told = {name: batches["calm"][name] for name in ("events", "sent_again", "is_probe")}
    assert told == {"events": 2, "sent_again": 2, "is_probe": False}
    trial = batches["trial"]
    assert (trial["events"], trial["delivered"], trial["sent_again"]) == (5, 2, 0)
    assert trial["tried_alone"] + trial["tried_together"] == 3
    service.wait_for(lambda books: books["pending"] == 0, within_s=WITHIN_S)
    assert service.command("audit", "--config", str(service.config_path)).returncode == 0
    service.stop()
    service.start()
    assert service.admin(f"/debug/exits/{end['id']}") == record


def test_who_leaves_files_behind_is_apart_for_that(
    running_service: StartService, tmp_path: Path
) -> None:
    """Measured from outside, in a worker that it alone had batches in.

    On a busy machine that worker may have ended before it was measured: then its end is told.
    """
    service = running_service(sections(tmp_path, "Litters"))
    post(service.url, [track("m1")])
    wait_until(lambda: bool(apart(service)), WITHIN_S, "it has a worker of its own")
    why = apart(service)[0]["why"]
    assert why["code"] in ("used_up", "last_in_it")
    assert why["batches_left"] > 0
    assert (why["exit"] is None) is (why["code"] == "used_up")
