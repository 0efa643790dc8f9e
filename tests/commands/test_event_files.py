"""Files of events in the forms that people have, for `send`, `try` and their kin."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import msgspec
import pytest

from supervisor.commands import event_files
from supervisor.commands.event_files import EventFileError, items_of, lines_of, unpacked
from supervisor.commands.subject import events_of
from tests.commands.conftest import Bulkhead
from tests.commands.servers import Script

ONE = b'{"type":"track","userId":"ann","event":"x","messageId":"m1","a":1.10}'
TWO = b'{"type":"page","userId":"ann","messageId":"m2"}'

FORMS = {
    "lines": ONE + b"\n" + TWO + b"\n",
    "lines of Windows": ONE + b"\r\n\r\n" + TWO,
    "a mark": b"\xef\xbb\xbf" + ONE + b"\n" + TWO,
    "an array": b"[" + ONE + b"," + TWO + b"]",
    "an array on many lines": b" \n[\n" + ONE + b",\n" + TWO + b"\n]\n",
    "an array after a mark": b"\xef\xbb\xbf[" + ONE + b"," + TWO + b"]",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(
    form: str, packed: bool, bulkhead: Bulkhead, url: str, script: Script, tmp_path: Path
) -> None:
    """By `send`, and by whatever reads a file whole; numbers stay as they were written."""
    file = tmp_path / "events"
    file.write_bytes(gzip.compress(FORMS[form]) if packed else FORMS[form])
    ran = bulkhead("send", str(file), "--write-key", "k", "--url", url)
    assert (ran.code, ran.out) == (0, "2 events: 2 accepted, 0 rejected\n")
    assert [event["messageId"] for event in script.events] == ["m1", "m2"]
    found = events_of(file)
    assert [event.message_id for event in found] == ["m1", "m2"]
    assert b'"a":1.10' in found[0].body


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "x\\uD83Dx"])
def test_half_of_a_surrogate_pair(
    half: str, bulkhead: Bulkhead, url: str, script: Script, tmp_path: Path
) -> None:
    """JavaScript cuts texts in the middle of a character; the API takes it, and so do commands."""
    file = tmp_path / "events"
    file.write_text('{"type":"page","userId":"ann","messageId":"m1","name":"' + half + '"}')
    assert bulkhead("send", str(file), "--write-key", "k", "--url", url).code == 0
    assert "\ufffd" in script.events[0]["name"]
    (found,) = events_of(file)
    assert "\ufffd" in msgspec.json.decode(found.body)["name"]


def test_a_batch_and_an_event_are_read_whole(tmp_path: Path) -> None:
    """As somebody has them from a request's body or a page of documentation."""
    file = tmp_path / "events"
    for text in (b'{"batch":[' + ONE + b"]}", json.dumps(json.loads(ONE), indent=2).encode()):
        file.write_bytes(text)
        assert [event.message_id for event in events_of(file)] == ["m1"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no event"),
        (b" \n ", "holds no event"),
        (b"\xef\xbb\xbf", "holds no event"),
        (b'{"a":1,}', "is not JSON"),
        (b'{\n"a": 1,\n"b": tru\n}', "line 3: is not JSON"),
        (b"[\n{},\n{]\n]", "line 3: is not JSON"),
        (ONE + b"\n{\n", "line 2: is not a JSON object"),
        (ONE + b"\n7\n", "line 2: is not a JSON object"),
        (b'{"batch":7}', 'its "batch" is no array'),
        (b"PK\x03\x04", "is not JSON"),
        (b"7", "is not JSON"),
    ],
)
def test_what_is_none_is_named(content: bytes, reason: str) -> None:
    """With its line, where it has lines."""
    with pytest.raises(EventFileError) as error:
        items_of(content)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    "broken",
    [gzip.compress(ONE)[:-9], gzip.compress(ONE)[:12] + b"xxxxxxxx"],
    ids=["cut off", "damaged"],
)
@pytest.mark.parametrize("command", ["send", "try"])
def test_a_broken_gzip_file_is_one_line(
    command: str, broken: bytes, bulkhead: Bulkhead, url: str, tmp_path: Path
) -> None:
    """Cut off, or damaged."""
    file = tmp_path / "events.gz"
    file.write_bytes(broken)
    options = ["--write-key", "k", "--url", url] if command == "send" else []
    names = [str(file)] if command == "send" else ["webhooks", str(file)]
    ran = bulkhead(command, *names, *options)
    assert ran.code == 1
    assert f"{file}: cannot be unpacked" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    """What is read whole is bounded after it is unpacked, too."""
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(b" " * 100_000_000))
    with pytest.raises(Exception, match=r"is larger than \d+ bytes when it is unpacked"):
        events_of(file)


def test_an_array_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to write it by lines."""
    monkeypatch.setattr(event_files, "MAX_ARRAY", 1000)
    stream = unpacked(io.BytesIO(b"[" + b"7," * 10_000))
    with pytest.raises(EventFileError, match=r"jq -c '\.\[\]'"):
        list(lines_of(stream, 500))


def test_an_event_on_many_lines_is_told_how_to_stand(
    bulkhead: Bulkhead, url: str, tmp_path: Path
) -> None:
    """`send` reads lines."""
    file = tmp_path / "events"
    file.write_text(json.dumps(json.loads(ONE), indent=2))
    ran = bulkhead("send", str(file), "--write-key", "k", "--url", url)
    assert ran.code == 1
    assert "one event stands on one line" in ran.err
