"""Steps of the wall clock neither stall nor rush retries."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from supervisor.queue.sqlite.schema import DATABASE
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: Debian's libfaketime, which shifts what a process reads from the wall clock while it runs.
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


class Steered:
    """A service whose wall clock is steered by a file."""

    def __init__(self, directory: Path, sink: SinkProcess) -> None:
        self.file = directory / "offset"
        self.step("+0")
        self.service = RunningService(
            directory / "service",
            {
                "retry": {"first_delay": "200ms", "max_delay": "400ms", "window": "1h"},
                "pools.default": {
                    "destinations": ["*"],
                    "allow": [sink.url.removeprefix("http://").strip("/")],
                },
                "connections.hook": {
                    "source": "test",
                    "destination": "webhooks",
                    "settings": {"url": sink.url},
                },
            },
            environment={
                "LD_PRELOAD": str(LIBRARIES[0]),
                "FAKETIME_TIMESTAMP_FILE": str(self.file),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_CACHE_DURATION": "1",
            },
            module="tests.process.faked",
        )

    def step(self, offset: str) -> None:
        """Move the service's wall clock to this offset from the machine's, as in "+365d"."""
        self.file.write_text(f"{offset}\n")

    def attempts(self) -> int:
        """How often the delivery of `m1` was attempted."""
        (found,) = self.service.admin("/events/m1")["deliveries"]
        attempts: int = found["attempts"]
        return attempts


@pytest.fixture
def steered(tmp_path: Path, sink: SinkProcess) -> Iterator[Steered]:
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    steered = Steered(tmp_path, sink)
    steered.service.start()
    yield steered
    if steered.service.is_started:
        steered.service.stop()


def oldest_s(service: RunningService) -> float:
    """The age of what waits, at a moment when it is not with a worker."""
    ages: list[float | None] = []

    def is_told() -> bool:
        ages.append(service.queue_of("hook")["oldest_s"])
        return ages[-1] is not None

    wait_until(is_told, 20, "something waits")
    age = ages[-1]
    assert age is not None
    return age


@pytest.mark.parametrize("offset", ["+365d", "-365d"])
def test_clock_step_under_way_changes_nothing(
    steered: Steered, sink: SinkProcess, offset: str
) -> None:
    """After a step of a year, forward or back, retries go on at their pace, and succeed."""
    sink.answer_with(500)
    post(steered.service.url, [track("m1")])
    wait_until(lambda: steered.attempts() >= 1, 20, "a first attempt")
    steered.step(offset)
    before = steered.attempts()
    wait_until(lambda: steered.attempts() >= before + 2, 20, "further attempts after the step")
    assert steered.service.books()["pending"] == 1
    sink.answer_with(200)
    wait_until(lambda: sink.received() == {"m1": 1}, 20, "delivery after the step")


@pytest.mark.parametrize("offset", ["+365d", "-365d"])
def test_clock_step_over_a_restart_loses_and_stalls_nothing(
    steered: Steered, sink: SinkProcess, offset: str
) -> None:
    """A service that starts a year off tries what was pending at once, before it gives up any."""
    sink.answer_with(500)
    post(steered.service.url, [track("m1")])
    wait_until(lambda: steered.attempts() >= 1, 20, "a first attempt")
    steered.service.stop()
    steered.step(offset)
    sink.answer_with(200)
    steered.service.start()
    wait_until(lambda: sink.received() == {"m1": 1}, 20, "delivery after the restart")
    steered.service.wait_for(lambda books: books["delivered_on_retry"] == 1, within_s=10)


def logged(service: RunningService, event: str) -> int:
    """How often the log says it."""
    return service.log_path.read_text().count(f'"{event}"')


def shown_age_s(steered: Steered) -> float:
    """How long ago the event was received, by the time that is shown."""
    received = str(steered.service.admin("/events/m1")["received_at"])
    return time.time() - datetime.fromisoformat(received).timestamp()


@pytest.mark.parametrize("ahead", ["+1h", "+40d", "+2y"])
def test_clock_that_once_was_in_the_future_is_not_gone_on_with(
    steered: Steered, sink: SinkProcess, ahead: str
) -> None:
    """Started right again, times are taken back: ages, schedules and what is known, and it is said;
    the start after that has nothing to take back."""
    service = steered.service
    service.stop()
    steered.step(ahead)
    service.start()
    sink.answer_with(500)
    post(service.url, [track("m1")])
    wait_until(lambda: steered.attempts() >= 1, 20, "a first attempt")
    service.stop()
    steered.step("+0")
    before = logged(service, "clock_reanchored")
    service.start()
    clock = service.admin("/status")["clock"]
    assert clock["reanchored_s"] > 3500
    assert abs(clock["ahead_s"]) < 5
    wait_until(lambda: logged(service, "clock_reanchored") == before + 1, 10, "it is said")
    assert 0 <= oldest_s(service) < 300
    assert -5 < shown_age_s(steered) < 300
    attempts = steered.attempts()
    wait_until(lambda: steered.attempts() > attempts, 20, "a further attempt")
    post(service.url, [track("m1")])
    assert service.admin("/status")["dedupe"]["dropped"] == 1
    sink.answer_with(200)
    wait_until(lambda: sink.received() == {"m1": 1}, 20, "delivery")
    service.stop()
    service.start()
    assert service.admin("/status")["clock"]["reanchored_s"] == 0
    assert logged(service, "clock_reanchored") == before + 1


def of_another_boot(service: RunningService) -> None:
    """Have the stopped service's state be of a boot before this one."""
    with closing(sqlite3.connect(service.directory / "state" / DATABASE)) as db, db:
        db.execute("UPDATE anchor SET boot = 'another'")


@pytest.mark.parametrize(("ahead", "is_rebooted"), [("+3h", False), ("+2y", False), ("+2y", True)])
def test_clock_that_jumps_while_the_service_is_down_makes_no_ages(
    steered: Steered, sink: SinkProcess, ahead: str, is_rebooted: bool
) -> None:
    """What waits is as young as it is and goes on, what was sent is known, nothing has expired; it
    is said; and all of it once more when the clock is set right again, at a start or later."""
    service = steered.service
    sink.answer_with(500)
    post(service.url, [track("m1")])
    wait_until(lambda: steered.attempts() >= 1, 20, "a first attempt")
    for offset, times in ((ahead, 1), ("+0", 2)):
        service.stop()
        if is_rebooted:
            of_another_boot(service)
        steered.step(offset)
        service.start()
        clock = service.admin("/status")["clock"]
        assert (clock["reanchored_s"] < -10_000) is (times == 1), clock
        assert abs(clock["ahead_s"]) < 5
        wait_until(partial(is_logged, service, "clock_reanchored", times), 10, "it is said")
        assert 0 <= oldest_s(service) < 300
        attempts = steered.attempts()
        wait_until(partial(has_more, steered, attempts), 20, "a further attempt")
        post(service.url, [track("m1")])
        assert service.admin("/status")["dedupe"]["dropped"] == 1
        assert service.books()["failed"] == 0
    steered.step(ahead)  # and while it runs
    wait_until(partial(is_logged, service, "clock_differs", 1), 20, "it is said")
    assert 0 <= oldest_s(service) < 300
    steered.step("+0")
    wait_until(partial(is_logged, service, "clock_agrees", 1), 20, "it is over")
    sink.answer_with(200)
    wait_until(lambda: sink.received() == {"m1": 1}, 20, "delivery")
    service.wait_for(lambda books: books["delivered_on_retry"] == 1, within_s=10)


def is_logged(service: RunningService, event: str, times: int) -> bool:
    """Whether the log says it so often."""
    return logged(service, event) == times


def has_more(steered: Steered, attempts: int) -> bool:
    """Whether there was another attempt."""
    return steered.attempts() > attempts


@pytest.mark.parametrize(("offset", "seconds"), [("-1h", -3600), ("+1h", 3600)])
def test_clock_that_is_set_while_the_service_runs_makes_no_ages(
    steered: Steered, sink: SinkProcess, offset: str, seconds: float
) -> None:
    """What comes after the step is as young as it is, log and `/status` say by how much shown times
    are off, and a restart ends that."""
    service = steered.service
    sink.answer_with(500)
    steered.step(offset)
    wait_until(lambda: logged(service, "clock_differs") == 1, 20, "it is said")
    post(service.url, [track("m1")])
    wait_until(lambda: steered.attempts() >= 1, 20, "a first attempt")
    assert 0 <= oldest_s(service) < 300
    assert abs(service.admin("/status")["clock"]["ahead_s"] + seconds) < 5
    sink.answer_with(200)
    wait_until(lambda: sink.received() == {"m1": 1}, 20, "delivery")
    service.stop()
    service.start()
    assert abs(service.admin("/status")["clock"]["ahead_s"]) < 5
    assert logged(service, "clock_differs") == 1


def test_clock_without_a_battery_is_not_believed(steered: Steered, sink: SinkProcess) -> None:
    """A machine that begins decades ago goes on from where the last run was."""
    service = steered.service
    sink.answer_with(500)
    post(service.url, [track("m1")])
    wait_until(lambda: steered.attempts() >= 1, 20, "a first attempt")
    service.stop()
    steered.step("-40y")
    service.start()
    assert service.admin("/status")["clock"]["reanchored_s"] == 0
    assert -5 < shown_age_s(steered) < 300
    sink.answer_with(200)
    wait_until(lambda: sink.received() == {"m1": 1}, 20, "delivery")
