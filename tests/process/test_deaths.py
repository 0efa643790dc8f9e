"""Kill anything on the way, and every accepted event still arrives."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from supervisor.telemetry.status import BlameStatus
from tests.conftest import StartService
from tests.harness.service import RunningService, writable
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

PLUGINS = str(Path(__file__).parent / "plugins")
#: `blame` of a connection that nothing is held against.
BLAMELESS = msgspec.to_builtins(BlameStatus())


def trial(path: Path, name: str, **settings: object) -> dict[str, dict[str, object]]:
    """A config with one connection to a destination of `plugins/trials.py`."""
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "retry": {"first_delay": "50ms", "max_delay": "500ms"},
        "pools.default": {
            "destinations": ["*"],
            "workers": 2,
            "spares": 1,
            "write_paths": [writable(path)],
        },
        f"destinations.{name}": {"class": f"trials:{name.capitalize()}"},
        "connections.trial": {
            "source": "test",
            "destination": name,
            "settings": {"path": str(path), **settings},
        },
    }


def written(path: Path) -> Counter[str]:
    """How often each message id stands in a diary."""
    if not path.exists():
        return Counter()
    return Counter(line.split()[0] for line in path.read_text().splitlines())


def serving(service: RunningService) -> list[int]:
    """Process ids of the two workers, once both serve."""
    wait_until(lambda: len(service.worker_pids()) == 2, 20, "both workers serve")
    return service.worker_pids()


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def living(pid: int) -> int:
    """How many of them are neither zombies nor reaped while they are counted."""
    count = 0
    for child in descendants(pid):
        with suppress(psutil.NoSuchProcess):
            count += child.status() != psutil.STATUS_ZOMBIE
    return count


def test_killed_supervisor_takes_its_children_along_and_loses_nothing(
    running_service: StartService, tmp_path: Path
) -> None:
    """After SIGKILL no child is left, and the next supervisor delivers what was accepted."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(trial(diary, "diary", seconds=0.3))
    ids = [f"m{n}" for n in range(200)]
    post(service.url, [track(i) for i in ids])
    wait_until(lambda: len(descendants(service.pid)) == 5, 20, "zygote, reaper, workers, spare")
    children = descendants(service.pid)
    service.kill()
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running()]
    service.start()
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
    assert set(written(diary)) == set(ids)
    assert service.command("audit", "--config", str(service.config_path)).returncode == 0
    assert service.queue_of("trial")["blame"] == BLAMELESS


def test_workers_that_die_together_with_the_zygote_charge_nobody(
    running_service: StartService, tmp_path: Path
) -> None:
    """What ended both is nobody's event: all are sent again, and none is under suspicion."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(trial(diary, "diary", seconds=0.5))
    workers = serving(service)
    ids = [f"m{n}" for n in range(40)]
    post(service.url, [track(i) for i in ids])
    wait_until(
        lambda: any(w["inflight_batches"] for w in service.admin("/status")["pools"][0]["workers"]),
        20,
        "a worker has a batch",
    )
    os.kill(service.admin("/status")["zygote"]["pid"], signal.SIGKILL)
    for pid in workers:
        # Of this, unlike SIGKILL, a destination would be accused.
        os.kill(pid, signal.SIGSEGV)
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
    assert set(written(diary)) == set(ids)
    ends = [end for end in service.exits() if end["pid"] in workers]
    assert {(end["reason"], end["detail"]) for end in ends} == {("signal", "SIGSEGV")}
    assert service.queue_of("trial")["blame"] == BLAMELESS


def test_killed_workers_are_replaced_and_their_events_arrive(
    running_service: StartService, tmp_path: Path
) -> None:
    """A worker killed with batches in it leaves its id to another process and loses nothing."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(trial(diary, "diary", seconds=0.05))
    first = serving(service)
    ids = [f"m{n}" for n in range(600)]
    post(service.url, [track(i) for i in ids])
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
    assert set(written(diary)) == set(ids)
    workers = service.admin("/status")["pools"][0]["workers"]
    assert [worker["id"] for worker in workers] == ["default-1", "default-2"]
    assert not {worker["pid"] for worker in workers} & set(first)
    ends = [end for end in service.exits() if end["pid"] in first]
    assert {(end["reason"], end["detail"]) for end in ends} == {("signal", "SIGKILL")}
    assert len(ends) == len(first)
    books = service.books()
    assert books["delivered_first_try"] + books["delivered_on_retry"] == len(ids)


def test_kill_from_outside_names_nobody_until_it_meets_the_same_again(
    running_service: StartService, tmp_path: Path
) -> None:
    """An operator's `kill -9` is no fault of what ran; an event that is met twice is tried."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(trial(diary, "diary", seconds=2.0))
    post(service.url, [track("m1")])

    def busy() -> list[int]:
        workers = service.admin("/status")["pools"][0]["workers"]
        return [worker["pid"] for worker in workers if worker["inflight_batches"]]

    killed: list[int] = []

    def has_it() -> bool:
        return any(pid not in killed for pid in busy())

    def is_reaped() -> bool:
        return len(service.exits()) == len(killed)

    for times in (1, 2):
        wait_until(has_it, 20, "a worker has the event")
        killed += busy()
        os.kill(killed[-1], signal.SIGKILL)
        wait_until(is_reaped, 20, "its exit is on record")
        if times == 1:
            assert service.queue_of("trial")["blame"] == BLAMELESS
    service.wait_for(lambda books: books["pending"] == 0, within_s=60)
    assert set(written(diary)) == {"m1"}
    ends = {end["pid"]: end["connection"] for end in service.exits()}
    assert [ends[pid] for pid in killed] == [None, "trial"]


def test_what_was_reported_survives_the_worker(
    running_service: StartService, tmp_path: Path
) -> None:
    """Events reported before their worker died are not sent again; the rest of the batch is."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(trial(diary, "fragile"))
    events = [track(f"m{n}", "Fatal" if n == 5 else "Fine") for n in range(10)]
    post(service.url, events)
    service.wait_for(lambda books: books["pending"] == 0, within_s=30)
    assert written(diary) == Counter({f"m{n}": 1 for n in range(10)})
    books = service.books()
    assert books["delivered_first_try"] + books["delivered_on_retry"] == 10
    ends = [(end["reason"], end["detail"], end["connection"]) for end in service.exits()]
    assert ends == [("crash", "exit status 3", "trial")]


def test_dead_zygote_is_replaced_and_no_worker_notices(
    running_service: StartService, tmp_path: Path
) -> None:
    """Workers outlive their zygote, and the next one forks when it is needed."""
    diary = tmp_path / "diary" / "lines"
    service = running_service(trial(diary, "diary"))
    workers = serving(service)
    zygote = service.admin("/status")["zygote"]["pid"]
    os.kill(zygote, signal.SIGKILL)
    wait_until(
        lambda: service.admin("/status")["zygote"]["pid"] not in (zygote, None), 10, "a new zygote"
    )
    assert service.worker_pids() == workers
    os.kill(workers[0], signal.SIGKILL)
    wait_until(
        lambda: (
            len(service.worker_pids()) == 2
            and workers[0] not in service.worker_pids()
            and len(service.admin("/status")["pools"][0]["spares"]) == 1
        ),
        10,
        "the slot and the spare are filled again",
    )


def test_stray_descendants_are_ended(running_service: StartService, tmp_path: Path) -> None:
    """Of a worker that was killed no process is left, and none that nobody knows."""
    service = running_service(trial(tmp_path / "diary" / "lines", "diary"))
    wait_until(lambda: len(descendants(service.pid)) == 5, 20, "zygote, reaper, workers, spare")
    for pid in serving(service):
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: len(descendants(service.pid)) == living(service.pid) == 5,
        10,
        "as many processes as before",
    )


def test_hung_worker_is_killed_at_its_deadline(
    running_service: StartService, tmp_path: Path, sink: SinkProcess
) -> None:
    """A destination that never returns costs its worker; the others' events are delivered."""
    sections = trial(tmp_path / "diary" / "unused", "hung")
    del sections["connections.trial"]["settings"]
    sections["pools.default"]["batch_timeout"] = "500ms"
    sections["pools.default"]["allow"] = [sink.url.removeprefix("http://").strip("/")]
    sections["connections.hook"] = {
        "source": "test",
        "destination": "webhooks",
        "settings": {"url": sink.url},
    }
    service = running_service(sections)
    post(service.url, [track(f"m{n}") for n in range(20)])
    wait_until(lambda: len(sink.received()) == 20, 60, "the healthy connection's events")
    service.first_exit(within_s=60, reason="timeout")


def test_event_that_makes_a_batch_raise_fails_alone(
    running_service: StartService, tmp_path: Path
) -> None:
    """After an exception the batch's events go on singly, so that only the bad one is left."""
    sections = trial(tmp_path / "diary" / "unused", "raises")
    del sections["connections.trial"]["settings"]
    service = running_service(sections)
    post(service.url, [track(f"m{n}", "Bad" if n == 5 else "Fine") for n in range(10)])
    service.wait_for(
        lambda books: books["delivered_first_try"] + books["delivered_on_retry"] == 9, within_s=60
    )
    assert service.books()["pending"] == 1
    (found,) = service.admin("/events/m5")["deliveries"]
    assert found["state"] == "pending"
    assert "ValueError: no good" in found["last_error"]


@pytest.mark.parametrize("kind", ["raises", "is missing"])
def test_destination_that_cannot_be_imported_leaves_the_others_alone(
    running_service: StartService, tmp_path: Path, kind: str
) -> None:
    """Its connection says why, its events wait, and the rest is delivered."""
    diary = tmp_path / "diary" / "lines"
    sections = trial(diary, "diary")
    path = "broken_import:Nothing" if kind == "raises" else "no_such_module:Nothing"
    sections["destinations.broken"] = {"class": path}
    sections["connections.bad"] = {"source": "test", "destination": "broken"}
    service = running_service(sections)
    post(service.url, [track("m1")])
    wait_until(lambda: written(diary)["m1"] == 1, 30, "the healthy connection's event")
    queue = next(q for q in service.admin("/status")["queues"] if q["connection"] == "bad")
    assert queue["depth"] == 1
    assert queue["state"] == "tripped"
    assert ("this module is broken" if kind == "raises" else "no_such_module") in queue[
        "state_reason"
    ]


def test_drain_finishes_what_runs_and_counts_it(
    running_service: StartService, tmp_path: Path
) -> None:
    """SIGTERM lets batches in flight end, says each second how many, and leaves the rest queued."""
    diary = tmp_path / "diary" / "lines"
    sections = trial(diary, "diary", seconds=1.5)
    sections["connections.trial"]["max_concurrency"] = 1
    service = running_service(sections)
    post(service.url, [track(f"m{n}") for n in range(30)])
    wait_until(
        lambda: service.admin("/status")["queues"][0]["inflight"] > 0, 10, "a batch in flight"
    )
    service.stop()
    done = sum(written(diary).values())
    assert done in (10, 20)
    draining = [line for line in service.log_path.read_text().splitlines() if '"draining"' in line]
    assert len(draining) >= 1
    service.start()
    service.wait_for(lambda books: books["pending"] == 0, within_s=30)
    assert written(diary) == Counter({f"m{n}": 1 for n in range(30)})


def test_drain_limit_kills_and_loses_nothing(running_service: StartService, tmp_path: Path) -> None:
    """What still runs at the drain limit is killed, uncharged, and delivered after the restart.

    Nothing of that is an error.
    """
    diary = tmp_path / "diary" / "lines"
    sections = trial(diary, "diary", seconds=20.0)
    sections["service"]["drain_timeout"] = "1s"
    service = running_service(sections)
    post(service.url, [track(f"m{n}") for n in range(10)])
    wait_until(lambda: service.admin("/status")["queues"][0]["inflight"] == 10, 10, "all in flight")
    service.stop()
    log = [json.loads(line) for line in service.log_path.read_text().splitlines()]
    assert [line for line in log if line["level"] in ("error", "critical")] == []
    assert not written(diary)
    sections["connections.trial"]["settings"] = {"path": str(diary)}
    service.start()
    service.wait_for(lambda books: books["pending"] == 0, within_s=30)
    assert written(diary) == Counter({f"m{n}": 1 for n in range(10)})
    assert service.books()["delivered_first_try"] == 10
