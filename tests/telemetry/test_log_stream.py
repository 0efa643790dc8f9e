"""Writing to a log that nobody reads, or that cannot be written to."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from supervisor.telemetry import log
from supervisor.telemetry.log_stream import MAX_WAITING, LogStream
from tests.harness.stuck import filled
from tests.harness.waiting import wait_until


class Reader:
    """The other side of a pipe, which reads when it is told to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lines: list[str] = []
        self._begun = b""

    def read_until(self, found: str) -> None:
        """Read on until a line contains `found`; the descriptor does not block."""

        def is_read() -> bool:
            try:
                self._begun += os.read(self._descriptor, 1024 * 1024)
            except BlockingIOError:
                return False
            *whole, self._begun = self._begun.split(b"\n")
            self.lines += [line.decode() for line in whole]
            return any(found in line for line in self.lines)

        wait_until(is_read, 20, f"{found} was written")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end does not block."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    yield readable, writable
    os.close(readable)
    # A thread may hang in a write to it: it is woken by the reader's end.
    os.close(writable)


def test_lines_come_out_in_order(pipe: tuple[int, int]) -> None:
    """What is read is what was written, and `drain` waits for it."""
    stream, reader = LogStream(pipe[1]), Reader(pipe[0])
    for n in range(500):
        stream.write(f"line {n}\n")
    assert stream.drain(20)
    reader.read_until("line 499")
    assert reader.lines == [f"line {n}" for n in range(500)]
    assert stream.lines_dropped == 0


def test_a_full_pipe_keeps_nobody_waiting_and_loses_nothing_at_first(
    pipe: tuple[int, int],
) -> None:
    """Lines wait for the reader; `drain` waits no longer than it may."""
    filled(pipe[1])
    stream, reader = LogStream(pipe[1]), Reader(pipe[0])
    for n in range(100):
        stream.write(f"line {n}\n")
    assert not stream.drain(0.05)
    reader.read_until("line 99")
    assert reader.lines[-100:] == [*(f"line {n}" for n in range(100))]
    assert stream.drain(20)


def test_what_finds_no_room_is_counted_and_told(pipe: tuple[int, int]) -> None:
    """Memory is bounded; once the reader is back, one line says how many are missing."""
    filled(pipe[1])
    stream, reader = LogStream(pipe[1]), Reader(pipe[0])
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        log.configure(stream=stream)
        line = "x" * 9_999 + "\n"
        written = MAX_WAITING // len(line) + 50
        for _ in range(written):
            stream.write(line)
        dropped = stream.lines_dropped
        assert 50 <= dropped <= 51
        reader.read_until("log_lines_dropped")
        assert stream.drain(20)
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()
    told = json.loads(reader.lines[-1])
    assert (told["message"], told["lines"], told["level"]) == (
        "log_lines_dropped",
        dropped,
        "warning",
    )
    assert sum(len(one) == 9_999 for one in reader.lines) >= written - dropped - 1


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(
    pipe: tuple[int, int],
) -> None:
    """A terminal is shared: who else has it may have set O_NONBLOCK, and no line is lost by it."""
    filled(pipe[1])
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK | os.O_WRONLY)
    stream, reader = LogStream(pipe[1]), Reader(pipe[0])
    stream.write("late\n")
    assert not stream.drain(0.05)
    reader.read_until("late")
    assert stream.lines_dropped == 0


@pytest.mark.parametrize("place", ["a full disk", "a reader that is gone", "closed"])
def test_lines_that_cannot_be_written_are_counted(place: str) -> None:
    """Errors of the descriptor reach nobody who logs."""
    readable, writable = os.pipe()
    os.close(readable)
    if place != "a reader that is gone":
        os.close(writable)
        writable = os.open("/dev/full", os.O_WRONLY) if place == "a full disk" else 1_000_000
    stream = LogStream(writable)
    stream.write("nowhere\n")
    wait_until(lambda: stream.lines_dropped == 1, 20, "the line is counted")
