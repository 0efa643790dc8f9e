"""The file of a tape."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import vcr
from hypothesis import given
from hypothesis import strategies as st

from supervisor.tapes import tape as tapes
from supervisor.tapes.tape import About, Answer, Call, Exchange, Tape, TapeError

ABOUT = About(
    destination="pager",
    provenance="doc",
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    events=[{"type": "track", "event": "Alarm: «é»\n"}],
    outcomes=["delivered"],
)
JSON = (("Content-Type", "application/json"),)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def shipped() -> Iterator[Path]:
    return Path(__file__).parent.parent.glob("destinations/*/tapes/*.yaml")


def tape(*exchanges: Exchange) -> Tape:
    return Tape(ABOUT, exchanges)


def test_round_trip() -> None:
    """What is written is read again, JSON with other blanks and otherwise the same."""
    call = Call("POST", "https://a.example/x?y=%20", JSON, b'{"a":[1,"\xc3\xa9"]}')
    answer = Answer(200, "OK", (("Set", "1"), ("Set", "2")), b"plain: text\n  with lines\n")
    read = tapes.loads(tapes.dumps(tape(Exchange(call, answer))).encode())
    assert read.about == ABOUT
    (exchange,) = read.exchanges
    assert exchange.answer == answer
    assert exchange.call.body == '{\n  "a": [\n    1,\n    "é"\n  ]\n}'.encode()
    assert exchange.call.url == call.url


@given(TEXT, TEXT)
def test_any_text(body: str, value: str) -> None:
    """Whatever text a body or header is, it comes back."""
    answer = Answer(200, "", (("X", value),), body.encode())
    (exchange,) = tapes.loads(
        tapes.dumps(tape(Exchange(Call("GET", "http://a/"), answer))).encode()
    ).exchanges
    assert exchange.answer.header("x") == value
    assert tapes.text_of(exchange.answer.body) == tapes.text_of(answer.body)


def test_a_value_a_line() -> None:
    """JSON is written with a line for each value, so that a review shows what changed."""
    exchange = Exchange(Call("POST", "http://a/", JSON, b'{"a":1,"b":2}'), Answer(204))
    assert '\n        "a": 1,\n        "b": 2\n' in tapes.dumps(tape(exchange))


def test_shipped_tapes_are_as_written() -> None:
    """Each tape of this project is in the very form that the recorder writes."""
    found = list(shipped())
    assert found
    for path in found:
        assert tapes.dumps(tapes.read(path)) == path.read_text(), path


def test_provenance_is_in_the_name() -> None:
    """A tape made from documentation says so in its name, and names the pages."""
    for path in shipped():
        about = tapes.read(path).about
        assert path.stem.endswith(f"-{about.provenance}"), path
        assert about.provenance == "real" or about.sources, path


async def test_vcrpy_plays_it(tmp_path: Path) -> None:
    """A tape is a cassette of vcrpy's."""
    call = Call("POST", "https://a.example/x", JSON, b'{"a":1}')
    path = tmp_path / "tape.yaml"
    path.write_text(tapes.dumps(tape(Exchange(call, Answer(200, "OK", JSON, b'{"ok":true}')))))
    with vcr.use_cassette(str(path), record_mode="none"):
        async with (
            aiohttp.ClientSession() as session,
            session.post("https://a.example/x", json={"a": 1}) as answer,
        ):
            assert await answer.json() == {"ok": True}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "is no tape"),
        (b"[1", "is no tape"),
        (b"\xff", "is no tape"),
        (b"version: 2\nmetadata: {}\ninteractions: []", "is no tape"),
        (b"a: &a [*a]", "is no tape"),
        (b"version: !!python/object/apply:os.system ['true']", "is no tape"),
    ],
)
def test_no_tape(tmp_path: Path, content: bytes, error: str) -> None:
    """What is no tape is refused with its file's name, whatever it is."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(TapeError, match=error) as caught:
        tapes.read(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(TapeError, match="No such file"):
        tapes.read(tmp_path / "x.yaml")


def test_unpacked() -> None:
    """Bodies are kept unpacked, and one that unpacks to too much is refused."""
    assert tapes.unpacked(tapes.packed(b"x"), "gzip") == b"x"
    assert tapes.unpacked(b"x", None) == b"x"
    with pytest.raises(ValueError, match="more than"):
        tapes.unpacked(tapes.packed(bytes(tapes.MAX_BODY + 1)), "gzip")
    with pytest.raises(ValueError, match="not packed"):
        tapes.unpacked(b"x", "gzip")
    with pytest.raises(ValueError, match="zstd"):
        tapes.unpacked(b"x", "zstd")
