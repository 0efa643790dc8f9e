"""Steps of the wall clock neither stall nor rush retries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
                "FAKETIME_NO_CACHE": "1",
            },
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
