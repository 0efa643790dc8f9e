"""Replay and drop of all that match, as jobs: to their end, at their pace, over a kill."""

from __future__ import annotations

import json
import time
from typing import Any

from supervisor.console.jobs import job_json
from supervisor.state.jobs import JobRecord
from tests.conftest import StartService
from tests.console.asking import SLOW_S, ask, done
from tests.harness.service import RunningService, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: Replayed to a connection that gets nothing else, they go at five a second where a busy machine
#: lets nothing more be proven (`retry_governor.py`): half a minute.
LETTERS = 150


def failed(service: RunningService, sink: SinkProcess, count: int = LETTERS) -> None:
    """So many dead letters of the connection `hook`; from then on all goes well."""
    sink.answer_with(400)
    post(service.url, [track(f"m{n}") for n in range(count)])
    service.wait_for(lambda books: books["failed"] == count, within_s=SLOW_S)
    sink.answer_with(200)


def ended(service: RunningService, job: Any) -> Any:
    """The job, once it runs no more. Any: JSON."""
    path = f"/jobs/{job['id']}"
    wait_until(lambda: done(service, "GET", path)["state"] != "running", SLOW_S, "it has ended")
    return done(service, "GET", path)


def test_a_job_replays_all_that_match_each_once(
    running_service: StartService, sink: SinkProcess
) -> None:
    """By its cause, to the end; what it did is told, and listed for a viewer as well."""
    service = running_service(webhook_sections(sink.url))
    failed(service, sink)
    told = done(service, "GET", "/deadletters/causes?connection=hook")
    (cause,) = told["causes"]
    assert (cause["count"], told["total"], told["more"]) == (LETTERS, LETTERS, 0)
    where = {"connection": "hook", "cause": cause["cause"]}
    admin = ("--admin", f"http://127.0.0.1:{service.admin_port}", "--json")
    counted = service.command(
        "deadletters", "replay", "--cause", cause["cause"], "--dry-run", *admin
    )
    assert json.loads(counted.stdout) == {"matched": LETTERS, "done": 0}
    none = service.command("deadletters", "list", "--cause", cause["cause"][:-1], *admin)
    assert json.loads(none.stdout)["deadletters"] == []
    job = done(service, "POST", "/jobs", {"kind": "replay", "where": where})
    assert job["matched"] == LETTERS
    end = ended(service, job)
    assert (end["state"], end["done"], end["not_done"]) == ("done", LETTERS, 0)
    assert end["where"] == where
    service.wait_for(lambda books: books["delivered_on_retry"] == LETTERS, within_s=SLOW_S)
    wait_until(lambda: len(sink.received()) == LETTERS, SLOW_S, "all have come")
    assert set(sink.received().values()) == {1}
    assert [one["id"] for one in done(service, "GET", "/jobs")["jobs"]] == [job["id"]]
    (deed,) = done(service, "GET", "/activity")["activity"]
    assert (deed["action"], deed["how_many"]) == ("replay job", LETTERS)


def test_a_job_keeps_its_pace_until_it_is_cancelled(
    running_service: StartService, sink: SinkProcess
) -> None:
    """At 20 a second; a second one has to wait; what it left is a dead letter still."""
    service = running_service(webhook_sections(sink.url))
    failed(service, sink)
    began = time.monotonic()
    asked = {"kind": "replay", "where": {}, "per_s": 20}
    job = done(service, "POST", "/jobs", asked)
    status, refused = ask(service, "POST", "/jobs", asked)
    assert (status, refused["error"]) == (409, "busy")
    assert job["id"] in refused["message"]
    path = f"/jobs/{job['id']}"
    wait_until(lambda: done(service, "GET", path)["done"] >= 60, SLOW_S, "some are done")
    assert time.monotonic() - began >= (60 - 5) / 20
    end = done(service, "DELETE", path)
    took_s = time.monotonic() - began
    assert end["state"] == "cancelled"
    assert 60 <= end["done"] <= took_s * 20 + 5
    books = service.books()
    assert books["failed"] == LETTERS - end["done"]
    status, refused = ask(service, "DELETE", path)
    assert (status, refused["error"]) == (409, "refused")
    drop = done(service, "POST", "/jobs", {"kind": "drop", "where": {"connection": "hook"}})
    assert ended(service, drop)["done"] == LETTERS - end["done"]
    assert done(service, "GET", "/deadletters")["deadletters"] == []


def test_a_job_goes_on_after_a_kill(running_service: StartService, sink: SinkProcess) -> None:
    """SIGKILL in the middle: the next run ends it, counts all, and no letter is sent twice."""
    service = running_service(webhook_sections(sink.url))
    failed(service, sink)
    job = done(service, "POST", "/jobs", {"kind": "replay", "where": {}, "per_s": 40})
    path = f"/jobs/{job['id']}"
    wait_until(lambda: done(service, "GET", path)["done"] >= 50, SLOW_S, "some are done")
    service.kill()
    service.start()
    end = ended(service, job)
    assert (end["state"], end["matched"], end["done"]) == ("done", LETTERS, LETTERS)
    assert end["resumed"] == 1
    service.wait_for(lambda books: books["pending"] == 0, within_s=SLOW_S)
    books = service.books()
    assert (books["failed"], books["delivered_on_retry"]) == (0, LETTERS)
    # What was with a worker when the service was killed may have come twice; nothing else.
    wait_until(lambda: len(sink.received()) == LETTERS, SLOW_S, "all have come")


def test_what_fails_anew_is_not_taken_again(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Where everything fails again, a job ends all the same, with each letter met once."""
    service = running_service(webhook_sections(sink.url))
    failed(service, sink)
    sink.answer_with(400)
    job = done(service, "POST", "/jobs", {"kind": "replay", "where": {}, "per_s": 200})
    end = ended(service, job)
    assert (end["state"], end["done"]) == ("done", LETTERS)
    # The breaker may hold back the last of them for a while.
    service.wait_for(lambda books: books["failed"] > 0, within_s=SLOW_S)
    books = service.books()
    assert books["failed"] + books["pending"] == LETTERS


def test_what_is_no_job_is_told(running_service: StartService, sink: SinkProcess) -> None:
    """Each with what is wrong, and nothing has begun."""
    service = running_service(webhook_sections(sink.url))
    for body, said in (
        ({"kind": "burn", "where": {}}, "burn"),
        ({"kind": "replay"}, "where"),
        ({"kind": "replay", "where": {"outcome": "delivered"}}, "outcome"),
        ({"kind": "replay", "where": {"dry_run": True}}, "dry_run"),
        ({"kind": "replay", "where": {}, "per_s": 0}, "per_s"),
        ({"kind": "drop", "where": {"cause": "x" * 2000}}, "cause"),
        (["drop"], "no {"),
    ):
        status, told = ask(service, "POST", "/jobs", body)
        assert (status, told["error"]) == (400, "bad_request"), body
        assert said in told["message"]
    assert ask(service, "GET", "/jobs/none")[0] == 404
    assert done(service, "GET", "/jobs")["jobs"] == []


def test_a_viewer_sees_no_word_of_a_partner_in_what_a_job_is_for() -> None:
    """Neither in the cause that it was asked for, nor in why it ended; an operator sees both."""
    where: dict[str, str | list[str]] = {"cause": "no such user Quux", "error": "Quux"}
    record = JobRecord("j", "replay", where, "me", 1.0, "9", error="Quux was not found")
    assert "Quux" not in json.dumps(job_json(record, is_viewer=True))
    assert job_json(record, is_viewer=False)["where"] == where
