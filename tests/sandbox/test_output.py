"""Lines that destinations print or log: under their connection, cut, and never without end."""

from __future__ import annotations

import logging
import time
import timeit
from collections.abc import Callable

import pytest

from sandbox.output import FEW, MAX_LINE, Handler, Lines, PrintStream
from sandbox.protocol import LINES_PER_S, WORKER_LINES_PER_S

Line = tuple[int, str, str, int]


class Desk:
    """Lines of the connection `running`, all within one second unless a test moves the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[Line] = []
        self.running = "a"
        self.now = 1.0
        self.lines = Lines(lambda *line: self.said.append(line), lambda: self.running)
        monkeypatch.setattr("sandbox.output.time.monotonic", lambda: self.now)

    @property
    def texts(self) -> list[str]:
        """What was said, without its circumstances."""
        return [text for _, _, text, _ in self.said]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_a_line_goes_under_the_connection_that_runs(desk: Desk) -> None:
    """As it is written, once it is whole; blank lines say nothing."""
    stream = PrintStream(desk.lines, logging.INFO, 1)
    stream.write("one\n\n   \ntw")
    desk.running = "b"
    stream.write("o\n")
    assert desk.said == [(logging.INFO, "a", "one", 0), (logging.INFO, "b", "two", 0)]


def test_what_is_written_as_bytes_comes_the_same_way(desk: Desk) -> None:
    """`sys.stdout.buffer` too, whatever the bytes are."""
    PrintStream(desk.lines, logging.WARNING, 2).buffer.write(b"caf\xe9\n")
    assert desk.said == [(logging.WARNING, "a", "caf�", 0)]


def test_a_line_without_an_end_is_cut(desk: Desk) -> None:
    """What is kept of a line that never ends is bounded, in memory as on the wire."""
    stream = PrintStream(desk.lines, logging.INFO, 1)
    for _ in range(10):
        stream.write("x" * MAX_LINE)
    assert desk.texts
    assert max(map(len, desk.texts)) == MAX_LINE


def test_too_many_lines_are_counted_and_told_with_the_next(desk: Desk) -> None:
    """Each connection has its own rate; what was dropped is said once there is room."""
    stream = PrintStream(desk.lines, logging.INFO, 1)
    stream.write("more\n" * LINES_PER_S)
    stream.write("more\n" * 7)
    assert len(desk.said) == LINES_PER_S
    desk.running = "b"
    stream.write("mine\n")
    assert desk.said[-1] == (logging.INFO, "b", "mine", 0)
    desk.now += 1
    desk.running = "a"
    stream.write("again\n")
    assert desk.said[-1] == (logging.INFO, "a", "again", 7)


def test_the_end_of_a_line_that_was_cut_is_no_line(desk: Desk) -> None:
    """`print` writes it by itself, and a blank line says nothing: neither is counted as dropped."""
    stream = PrintStream(desk.lines, logging.INFO, 1)
    desk.lines.write(logging.INFO, "more\n" * LINES_PER_S)
    print("x" * (MAX_LINE + 1), file=stream)
    print(file=stream)
    desk.now += 1
    print("again", file=stream)
    assert desk.said[-1] == (logging.INFO, "a", "again", 1)


@pytest.mark.parametrize("lines", [1, FEW, FEW + 1, FEW + 2, 5 * FEW])
@pytest.mark.parametrize("end", ["", "\n"])
def test_every_dropped_line_is_counted(desk: Desk, lines: int, end: str) -> None:
    """However many there are, and whether the last of them has an end."""
    desk.lines.write(logging.INFO, "more\n" * LINES_PER_S)
    desk.lines.write(logging.INFO, "\n".join(["x" * 5_000] * lines) + end)
    desk.now += 1
    desk.lines.write(logging.INFO, "again")
    assert desk.said[-1] == (logging.INFO, "a", "again", lines)


def test_a_long_line_that_is_dropped_is_not_counted_character_by_character(desk: Desk) -> None:
    """Its neighbours wait for that long, and one that prints much does it over and over."""
    stream = PrintStream(desk.lines, logging.INFO, 1)
    desk.lines.write(logging.INFO, "more\n" * LINES_PER_S)
    text = "x" * 1_000_000

    def seconds(what: Callable[[], object]) -> float:
        return min(timeit.repeat(what, timer=time.thread_time, number=20, repeat=5))

    assert seconds(lambda: print(text, file=stream)) < seconds(lambda: text.count("\n")) / 2


def test_a_worker_has_a_rate_for_all_its_connections_together(desk: Desk) -> None:
    """The supervisor holds it to that, so that more would be lost on the way."""
    for name in "abcd":
        desk.running = name
        desk.lines.write(logging.INFO, "more\n" * LINES_PER_S)
    assert len(desk.said) == WORKER_LINES_PER_S


def test_what_was_dropped_of_a_connection_that_went_silent_is_told(desk: Desk) -> None:
    """In the next second, by a line of its own, and once."""
    desk.lines.write(logging.INFO, "more\n" * LINES_PER_S)
    desk.lines.write(logging.INFO, "more\n" * 7)
    desk.lines.tell_dropped()
    assert len(desk.said) == LINES_PER_S
    desk.now += 1
    desk.lines.tell_dropped()
    desk.lines.tell_dropped()
    (last,) = desk.said[LINES_PER_S:]
    assert (last[0], last[1], last[3]) == (logging.WARNING, "a", 7)


def test_text_that_utf8_does_not_have_is_replaced(desk: Desk) -> None:
    """A lone surrogate would be no frame."""
    desk.lines.write(logging.INFO, "\udc80 and more")
    assert desk.texts == ["? and more"]


def test_a_log_record_names_the_exception_and_not_its_text(desk: Desk) -> None:
    """The text may hold what a customer has sent; a format that does not fit is no crash."""
    logger = logging.Logger("of a test")
    logger.addHandler(Handler(desk.lines, "fixed", lambda: desk.running))
    try:
        raise ValueError("ann@example.com")
    except ValueError:
        logger.exception("it failed for %s", "a reason")
    logger.error("%d", "no number")
    first, second = desk.said
    assert first == (logging.ERROR, "fixed", "it failed for a reason: ValueError", 0)
    assert second[2].startswith("unprintable log line: TypeError")
