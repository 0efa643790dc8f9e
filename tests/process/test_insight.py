"""Trends of a real service agree with its books to the event, whatever is killed or taken away."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from supervisor.queue import Books
from tests.conftest import StartService
from tests.console.asking import done
from tests.harness.service import RunningService, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

COUNTERS = [name for name in Books.__struct_fields__ if name != "pending"]


def booked(service: RunningService, connection: str) -> dict[str, int]:
    """The books of a connection, as frames of the last hours add up to them."""
    since = int(time.time()) - 5 * 3600
    totals = service.admin(f"/trends?connection={connection}&from={since}&step=60")["totals"]
    totals["failed"] -= totals["replayed_failed"]
    totals["quarantined"] -= totals["replayed_quarantined"]
    return {name: totals[name] for name in COUNTERS}


def agree(service: RunningService) -> None:
    """Each connection's trends are its books; nothing is being delivered meanwhile."""
    wait_until(lambda: service.ask("/trends", 30)[0] == 200, 30, "what was kept is read")
    for connection, books in service.admin("/books")["connections"].items():
        assert booked(service, connection) == {name: books[name] for name in COUNTERS}, connection


def quiet(service: RunningService) -> None:
    """Until nothing is pending."""
    service.wait_for(lambda books: books["pending"] == 0, within_s=90)


def test_trends_and_books_agree_over_kills(
    running_service: StartService, sink: SinkProcess
) -> None:
    """SIGKILLs of supervisor and workers, stops, and a file that is deleted or broken between."""
    dice = random.Random(11)
    sections = webhook_sections(sink.url)
    sections["retry"] = {"first_delay": "50ms", "max_delay": "300ms"}
    sections["connections.other"] = dict(sections["connections.hook"])
    service = running_service(sections)
    file = Path(service.directory) / "state" / "insight.db"
    sent = 0
    for round_ in range(6):
        sink.answer_with(dice.choice([200, 200, 400, 503]))
        for _ in range(4):
            post(service.url, [track(f"m{sent + n}") for n in range(20)])
            sent += 20
        post(service.url, [track(f"m{sent - 1}")])  # a repeat
        for pid in service.worker_pids()[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sink.answer_with(200)
        if round_ % 2:
            quiet(service)
            agree(service)
            done(service, "POST", "/deadletters/replay", {})
            quiet(service)
            agree(service)
        if dice.random() < 0.6:
            service.kill()
        else:
            service.stop()
        match round_:
            case 1:
                file.unlink()
            case 2:
                file.write_bytes(dice.randbytes(30_000))
            case 4:
                with file.open("r+b") as opened:
                    opened.truncate(6000)
            case _:
                pass
        service.start()
    quiet(service)
    agree(service)
    totals = service.admin("/trends")["totals"]
    assert totals["accepted"] == 2 * sent == service.books()["accepted"]


def test_a_file_that_cannot_be_made_stops_nothing(sink: SinkProcess, tmp_path: Path) -> None:
    """It is told once; events are taken and delivered, and it stops as ever."""
    service = RunningService(tmp_path / "service", webhook_sections(sink.url))
    (service.directory / "state" / "insight.db").mkdir(parents=True)
    try:
        service.start()
        post(service.url, [track("one")])
        quiet(service)
        status, body = service.ask("/trends", 30)
        assert (status, b"not_kept" in body) == (503, True), body
        assert len(service.admin("/tap/test")["rows"]) == 1
        service.stop()
    finally:
        service.kill()
    assert service.log_path.read_text().count("insight_not_kept") == 1


def test_turned_off_there_is_no_tap_and_no_file(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Nor a row."""
    service = running_service({**webhook_sections(sink.url), "console": {"enabled": False}})
    post(service.url, [track("one")])
    quiet(service)
    assert service.ask("/tap/test", 30)[0] == 404
    assert service.ask("/trends", 30)[0] == 404
    told = service.admin("/events/one")
    assert told["deliveries"][0]["history"] == []
    assert "console.enabled" in told["attempts_not_kept"]
    assert not list((service.directory / "state").glob("insight*"))


def test_what_goes_wrong_is_an_issue_and_outlives_a_kill(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Failed deliveries and rejected events, by their cause."""
    sink.answer_with(400)
    service = running_service(webhook_sections(sink.url))
    post(service.url, [track(f"m{n}") for n in range(30)])
    post(service.url, [track("fine"), {"type": "odd", "userId": "ann"}])
    service.wait_for(lambda books: books["failed"] == 31, within_s=60)

    def issues() -> dict[str, tuple[str | None, str | None, int]]:
        return {
            issue["kind"]: (issue["connection"], issue["source"], issue["count"])
            for issue in service.admin("/issues?open=yes")["issues"]
        }

    expected = {"failed": ("hook", None, 31), "rejected": (None, "test", 1)}
    wait_until(lambda: issues() == expected, 30, "both are there")
    service.stop()
    service.start()
    wait_until(lambda: issues() == expected, 30, "they are there after a restart")
