"""Log lines, as they reach standard error."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from supervisor.telemetry import log


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Whatever a test sets up is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_line_is_one_json_object() -> None:
    """Away from a terminal a line is JSON with time, level, logger, message and values."""
    stream = io.StringIO()
    log.configure(stream=stream)
    structlog.get_logger("supervisor.workers").warning("worker died", worker="default-1", pid=7)
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert datetime.fromisoformat(told.pop("time")).tzinfo == UTC
    assert told == {
        "level": "warning",
        "logger": "supervisor.workers",
        "message": "worker died",
        "worker": "default-1",
        "pid": 7,
    }


def test_libraries_write_the_same_lines() -> None:
    """A record of the standard library's logging has the same form, its extras included."""
    stream = io.StringIO()
    log.configure(stream=stream)
    logging.getLogger("aiohttp.server").error("broken %s", "pipe", extra={"peer": "a"})
    told = json.loads(stream.getvalue())
    assert (told["message"], told["logger"], told["level"]) == (
        "broken pipe",
        "aiohttp.server",
        "error",
    )
    assert told["peer"] == "a"


def test_an_exception_stays_in_its_line() -> None:
    """A traceback is a value of the JSON object and not lines of its own."""
    stream = io.StringIO()
    log.configure(stream=stream)
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("it failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]


def test_what_is_below_the_level_is_not_written() -> None:
    """Debug lines are left out unless asked for."""
    stream = io.StringIO()
    log.configure(stream=stream)
    structlog.get_logger().debug("too much")
    assert not stream.getvalue()


def test_a_terminal_gets_readable_lines() -> None:
    """On a terminal a line is time, level, message and key=value, without control characters."""
    stream = Terminal()
    log.configure(stream=stream)
    structlog.get_logger().info("worker\x1b[2J started", worker="default-1", why="a b")
    line = stream.getvalue()
    assert line.endswith('info     worker\\x1b[2J started  worker=default-1 why="a b"\n')
    assert "\x1b" not in line


def test_secrets_are_kept_out_in_every_form() -> None:
    """A secret is replaced in values, messages, extras and tracebacks, however it is escaped."""
    secret = 'p"ss wörd/1'
    stream = io.StringIO()
    log.configure({secret}, stream=stream)
    logger = structlog.get_logger()
    logger.info(f"asking with {secret}", url="https://h/?t=p%22ss%20w%C3%B6rd%2F1", nested=[secret])
    logging.getLogger("library").warning("header %r", {"key": secret})
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("it failed")
    written = stream.getvalue()
    assert "rd/1" not in written
    assert "rd%2F1" not in written
    assert written.count(log.REDACTED) >= 5
    for line in written.splitlines():
        json.loads(line)


def test_a_reload_changes_the_secrets() -> None:
    """After `follow` the new secrets are kept out, and only they."""
    redact = log.Redactor({"old-secret"})
    redact.follow({"new-secret"})
    assert redact("old-secret new-secret") == f"old-secret {log.REDACTED}"


def test_a_secret_within_a_secret_leaves_no_rest() -> None:
    """Where one secret contains another, the longer one goes as a whole."""
    assert log.Redactor({"token", "token-and-more"})("token-and-more") == log.REDACTED


@pytest.mark.parametrize("others", [0, log.FEW_HEADS + 1])
def test_few_secrets_are_found_like_many(others: int) -> None:
    """With few of them most lines are only searched for their first characters."""
    redact = log.Redactor({"the-secret", *(f"{n:04}-other" for n in range(others))})
    assert redact("it is the-secret.") == f"it is {log.REDACTED}."
    for line in ("nothing", "the-secrecy of it", ""):
        assert redact(line) == line


def test_very_short_secrets_leave_lines_readable() -> None:
    """A secret of fewer than four characters is not looked for."""
    assert log.Redactor({"", "a", "123"})("a line of 1234") == "a line of 1234"


@given(secret=st.text(min_size=4, max_size=30), around=st.text("0123456789", max_size=20))
def test_no_secret_survives_redaction(secret: str, around: str) -> None:
    """Whatever a secret is made of, it does not get into the line."""
    line = log.Redactor({secret})(f"{around}: {secret}")
    assert line.removesuffix(log.REDACTED).count(secret) == 0


@given(secret=st.text(min_size=12, max_size=30), before=st.binary(max_size=5), after=st.binary())
def test_no_secret_survives_within_base64_or_in_a_urls_escapes(
    secret: str, before: bytes, after: bytes
) -> None:
    """Wherever in what was encoded it stands; of its ends a few bits are left at most."""
    redact = log.Redactor({secret})
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    for text in (encoded, encoded.replace("+", "-").replace("/", "_")):
        assert log.REDACTED in redact(text)
    quoted = urllib.parse.quote(secret, safe="")
    for text in (quoted, re.sub("%..", lambda found: found[0].lower(), quoted)):
        assert redact(f"a={text}&b=0") == f"a={log.REDACTED}&b=0"


@given(
    secret=st.text(min_size=4, max_size=20),
    safe=st.text("!*'();/?:@&=+$,#-_.~", max_size=8),
    escaped=st.sets(st.integers(0, 19)),
    is_twice=st.booleans(),
)
def test_no_secret_survives_escapes_of_which_program_ever(
    secret: str, safe: str, escaped: set[int], is_twice: bool
) -> None:
    """No two of them escape the same characters of a URL, nor the same of JSON; a text goes through
    two of them at times."""
    if secret in "x [secret] y":
        return
    in_url = urllib.parse.quote(secret, safe=safe, errors="surrogatepass")
    units = [c.encode("utf-16-be", "surrogatepass").hex() for c in secret]
    in_json = "".join(
        "".join(f"\\u{unit[at : at + 4]}" for at in range(0, len(unit), 4))
        if n in escaped
        else json.dumps(c)[1:-1]
        for n, (c, unit) in enumerate(zip(secret, units, strict=True))
    )
    twice = json.dumps(in_json)[1:-1] if is_twice else in_json
    for text in (in_url, urllib.parse.quote(in_url) if is_twice else in_url, twice):
        said = log.Redactor((secret,))(f"x {text} y")
        assert said == "x [secret] y", (text, said)


@given(st.text('%\\u0aA"/é😀 d83', max_size=30))
def test_what_is_no_secret_stays_as_it_was_escaped(text: str) -> None:
    """Whatever is half an escape, or none; each character is known by where it stood."""
    assert log.Redactor(("a-secret",))(text) == text
    read, starts = log.unescaped(text)
    assert len(starts) == len(read) + 1
    assert starts == sorted(set(starts))
    assert starts[-1] == len(text)


def test_a_secret_that_stands_in_its_own_place_ends_nothing() -> None:
    """Nothing is replaced in what was put there."""
    assert log.Redactor(("secret",))("%20 the secret") == "%20 the [secret]"


def test_an_endless_value_is_cut() -> None:
    """A value of any length becomes a line of bounded length that is still JSON."""
    stream = io.StringIO()
    log.configure(stream=stream)
    structlog.get_logger().info("answer", body="x" * 1_000_000)
    assert len(stream.getvalue()) < 2 * log.MAX_LINE
    json.loads(stream.getvalue())


def test_tokens_that_are_renewed_are_secrets_too() -> None:
    """The newest and the one before, which may still be in use; a reload forgets neither."""
    redact = log.Redactor(["configured"])
    redact.also("a", ["first-token"])
    redact.also("a", ["second-token"])
    redact.follow(["changed"])
    assert redact("configured changed first-token second-token") == (
        "configured [secret] [secret] [secret]"
    )
    redact.also("a", ["third-token"])
    assert redact("first-token second-token third-token") == "first-token [secret] [secret]"
