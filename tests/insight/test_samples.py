"""Samples of what went wrong: what is kept of an attempt, for how long, and what is never kept."""

from __future__ import annotations

import base64
import json
import os
import stat
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.protocol import (
    MAX_ANSWER_BODY,
    MAX_HEADER,
    MAX_HEADERS,
    MAX_REQUEST_BODY,
    MAX_URL,
    GotAnswer,
    Sampled,
    SentRequest,
)
from supervisor.insight import sample_file
from supervisor.insight.masking import Masking
from supervisor.insight.sample_file import A_CAUSE, KEPT_S, SampleShelf
from supervisor.insight.sample_records import (
    SAMPLE_BYTES,
    FailedAttempt,
    KeptSample,
    encoded,
    sample_of,
)
from supervisor.insight.samples import NAME, RENEWED_S, Samples, remove_samples
from supervisor.telemetry.log import REDACTED, Redactor

MASKED = Masking("masked", [], b"k")
FULL = Masking("full", [], b"k")
EVENT = json.dumps(
    {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m1",
        "userId": "user-1",
        "properties": {"total": 1.5, "email": "ann@shop.example"},
    }
).encode()


def attempt(
    body: bytes = EVENT, reason: str = "400 Bad Request: ann@shop.example"
) -> FailedAttempt:
    return FailedAttempt("web-crm", "failed", "400 Bad Request: …", reason, 2, "default-1", body)


def sampled(
    body: bytes = b'{"mail":"ann@shop.example","total":1.10}',
    answer: bytes = b'{"error":"no ann@shop.example"}',
    url: str = "https://p.example/a?email=ann%40shop.example",
    header: str = "x",
) -> Sampled:
    request = SentRequest("POST", url, {"X-Other": header}, body, len(body), "")
    return Sampled(1, 0, request, GotAnswer(400, {"X-Got": header}, answer, len(answer), ""))


def kept(
    masking: Masking = MASKED, secrets: tuple[str, ...] = (), **parts: bytes | str
) -> KeptSample:
    return sample_of(attempt(), sampled(**parts), masking, Redactor(secrets), 5.0)  # type: ignore[arg-type]  # each by its name


# --- what is kept ---


def test_a_sample_has_the_event_the_request_and_the_answer_masked() -> None:
    sample = kept()
    assert (sample.message_id, sample.type, sample.name) == ("m1", "track", "Order Completed")
    assert sample.reason == "400 Bad Request: <masked>"
    assert sample.request is not None
    assert sample.request.body == '{"mail":"…@…","total":1.10}'.replace("…@…", "…@…", 1)
    assert sample.answer is not None
    assert (sample.answer.status, sample.answer.body) == (400, '{"error":"no <masked>"}')
    assert b"ann@shop" not in encoded(sample)
    assert b"ann%40shop" not in encoded(sample)


def test_in_full_it_is_as_it_was_sent() -> None:
    sample = kept(FULL)
    assert sample.body == EVENT.decode().replace(": ", ":").replace(", ", ",")
    assert sample.request is not None
    assert sample.request.body == '{"mail":"ann@shop.example","total":1.10}'
    assert sample.request.url == "https://p.example/a?email=ann%40shop.example"


def test_what_cannot_be_parsed_is_kept_as_its_length_and_hash() -> None:
    sample = kept(FULL, body=b"<xml>ann</xml>", answer=b"\xff\xfe")
    assert sample.request is not None
    assert sample.answer is not None
    for body, size in ((sample.request.body, 14), (sample.answer.body, 2)):
        assert body is not None
        assert body.startswith(f'"<no JSON, {size} bytes, hash ')


SECRET = 'Zq7/x"Kw+9vé'
FORMS = [
    SECRET,
    json.dumps(SECRET)[1:-1],
    json.dumps(SECRET, ensure_ascii=False)[1:-1],
    urllib.parse.quote(SECRET, safe=""),
    urllib.parse.quote_plus(SECRET),
    urllib.parse.quote(SECRET, safe="").replace("%C3%A9", "%c3%a9"),
    base64.b64encode(SECRET.encode()).decode(),
    base64.b64encode(f"user:{SECRET}".encode()).decode(),
    base64.b64encode(f"u:{SECRET}:x".encode()).decode(),
    base64.urlsafe_b64encode(f"ab{SECRET}".encode()).decode(),
    "".join(f"\\u{ord(c):04x}" for c in SECRET),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("masking", [MASKED, FULL], ids=["masked", "full"])
def test_no_secret_is_kept_in_any_form_wherever_it_stands(masking: Masking, form: str) -> None:
    """Also where settings did not feed it to a place that the kit knows."""
    text = form if form.startswith("\\u") or '\\"' in form else json.dumps(form)[1:-1]
    body = f'{{"a":"{text}","b":["x{text}y"],"{text}":1}}'.encode()
    record = encoded(kept(masking, (SECRET,), body=body, answer=body, header=form))
    for found in FORMS:
        whole = found.rstrip("=")
        middle = whole[4:-4] if whole[:3] not in SECRET else whole
        assert middle.encode() not in record
    assert REDACTED.encode() in record


@given(
    form=st.sampled_from(FORMS),
    place=st.sampled_from(["url", "header", "body", "answer", "reason", "event"]),
    before=st.text("ab&=?/ ", max_size=5),
)
def test_wherever_a_marker_is_put_it_is_gone(form: str, place: str, before: str) -> None:
    words = before + form
    parts: dict[str, bytes | str] = {}
    event, reason = EVENT, "400"
    match place:
        case "url":
            parts["url"] = f"https://p.example/{words}?a={words}"
        case "header":
            parts["header"] = words
        case "body" | "answer":
            parts[place] = f"x={words}".encode()
        case "reason":
            reason = words
        case _:
            event = json.dumps({"type": "track", "event": words, "x": [words]}).encode()
    told = sampled(**parts)  # type: ignore[arg-type]  # each by its name
    for masking in (MASKED, FULL):
        record = encoded(sample_of(attempt(event, reason), told, masking, Redactor((SECRET,)), 1.0))
        assert SECRET.encode() not in record
        if not form.startswith("\\u"):  # what is escaped for JSON is no secret elsewhere
            assert form.rstrip("=")[4:-4].encode() not in record


def test_a_secret_of_digits_leaves_json_that_can_be_read() -> None:
    sample = sample_of(
        attempt(b'{"n":1234567890,"type":"track"}'), None, FULL, Redactor(("234567",)), 1.0
    )
    assert sample.body is not None
    assert "234567" not in json.loads(sample.body)


def test_the_longest_that_a_worker_can_say_and_the_longest_event_make_no_longer_sample() -> None:
    headers = {f"{n:064}": "é" * MAX_HEADER for n in range(MAX_HEADERS)}
    request = SentRequest(
        "M" * 16, "é" * MAX_URL, headers, b'["' + b"a" * (MAX_REQUEST_BODY - 4) + b'"]', 9, ""
    )
    answer = GotAnswer(400, headers, b'["' + b"b" * (MAX_ANSWER_BODY - 4) + b'"]', 9, "")
    event = json.dumps({"event": "e" * 60_000, "messageId": "m" * 1_000}).encode()
    for masking in (MASKED, FULL):
        sample = sample_of(
            attempt(event, "é" * 2000), Sampled(1, 0, request, answer), masking, str, 1.0
        )
        assert len(encoded(sample)) <= SAMPLE_BYTES


@pytest.mark.parametrize("event", [b"", b"[1]", b"\xff", b"[" * 60_000, b'{"messageId":5}'])
def test_an_event_that_is_none_has_a_sample_all_the_same(event: bytes) -> None:
    assert encoded(sample_of(attempt(event), None, MASKED, str, 1.0))


# --- the file ---


def test_few_are_kept_of_an_issue_and_a_newer_one_has_the_oldest_ones_place(tmp_path: Path) -> None:
    shelf = SampleShelf(tmp_path / "s", 10_000)
    assert shelf.open(b"r", 0.0) == {}
    for n in range(A_CAUSE + 2):
        shelf.add(7, float(n), b"%d" % n)
    shelf.add(8, 9.0, b"other")
    assert shelf.of(7) == [b"4", b"3", b"2"]
    shelf.close()
    again = SampleShelf(tmp_path / "s", 10_000)
    assert again.open(b"r", 10.0) == {7: (3, 4.0), 8: (1, 9.0)}
    assert again.of(7) == [b"4", b"3", b"2"]
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


def test_what_is_too_much_or_too_old_goes_from_the_disk_too(tmp_path: Path) -> None:
    file = tmp_path / "s"
    shelf = SampleShelf(file, 10_000)
    shelf.open(b"r", 0.0)
    forgotten = [
        issue for n in range(100) for issue in shelf.add(n, float(n), b"record-%03d" % n * 30)
    ]
    assert file.stat().st_size <= 10_000
    assert forgotten == list(range(len(forgotten)))
    content = file.read_bytes()
    assert b"record-000" not in content
    assert b"record-099" in content
    assert shelf.tidy(99.0 + KEPT_S) != []
    assert b"record" not in file.read_bytes()


def test_a_file_of_other_rules_or_none_that_we_have_written_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "s"
    shelf = SampleShelf(file, 10_000)
    shelf.open(b"full", 0.0)
    shelf.add(1, 0.0, b"in full")
    shelf.close()
    assert SampleShelf(file, 10_000).open(b"masked", 0.0) == {}
    assert b"in full" not in file.read_bytes()
    file.write_bytes(os.urandom(5_000))
    assert SampleShelf(file, 10_000).open(b"masked", 0.0) == {}


@pytest.mark.parametrize("cut", [1, 10, 30, 45])
def test_a_torn_end_is_cut_off_and_what_was_before_it_stays(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "s"
    shelf = SampleShelf(file, 10_000)
    shelf.open(b"r", 0.0)
    shelf.add(1, 0.0, b"first " * 5)
    shelf.add(1, 1.0, b"second " * 5)
    shelf.close()
    file.write_bytes(file.read_bytes()[:-cut])
    again = SampleShelf(file, 10_000)
    again.open(b"r", 1.0)
    assert again.of(1) == [b"first " * 5]
    again.add(1, 2.0, b"third")
    assert again.of(1) == [b"third", b"first " * 5]


def test_a_link_or_a_folder_in_its_place_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"symbolic|loop|Too many"):
        SampleShelf(tmp_path / "s", 10_000).open(b"r", 0.0)
    assert (tmp_path / "elsewhere").read_text() == "mine"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        SampleShelf(tmp_path / "folder", 10_000).open(b"r", 0.0)


# --- the whole of it ---


class Wall:
    """A clock of the test's."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def shelved(tmp_path: Path) -> AsyncIterator[tuple[Samples, Wall]]:
    """Samples that run."""
    wall = Wall()
    samples = Samples(tmp_path, MASKED, Redactor((SECRET,)), wall=wall)
    samples.start()
    yield samples, wall
    await samples.close()


async def test_an_issue_has_its_newest_samples(shelved: tuple[Samples, Wall]) -> None:
    samples, wall = shelved
    for n in range(5):
        wall.now += 1
        if samples.takes(1):
            samples.keep(1, attempt(reason=f"400 no. {n}"), sampled())
    found = await samples.of(1)
    assert [one.reason for one in found] == ["400 no. 2", "400 no. 1", "400 no. 0"]
    assert found[0].request is not None
    assert await samples.of(2) == []
    wall.now += RENEWED_S
    assert samples.takes(1)
    samples.keep(1, attempt(reason="400 late"), None)
    assert [one.reason for one in await samples.of(1)][:2] == ["400 late", "400 no. 2"]


async def test_they_survive_a_restart(tmp_path: Path) -> None:
    for n in range(2):
        samples = Samples(tmp_path, MASKED, str)
        samples.start()
        samples.keep(1, attempt(reason=f"run {n}"), None)
        assert len(await samples.of(1)) == n + 1
        await samples.close()


@pytest.mark.parametrize("masking", [Masking("none", [], b""), FULL, Masking("masked", ["a"], b"")])
async def test_with_other_rules_what_was_kept_is_gone_at_once(
    tmp_path: Path, shelved: tuple[Samples, Wall], masking: Masking
) -> None:
    """Where nothing may be kept, no file is left; and nothing comes into one from then on."""
    samples, _ = shelved
    samples.keep(1, attempt(), sampled())
    assert await samples.of(1)
    samples.keep(2, attempt(), sampled())
    samples.follow(masking)
    assert await samples.of(1) == await samples.of(2) == []
    is_none = not samples.is_wanted
    assert (tmp_path / NAME).exists() is not is_none
    assert samples.takes(1) is not is_none
    if not is_none:
        assert b"web-crm" not in (tmp_path / NAME).read_bytes()


async def test_a_flood_is_not_kept(shelved: tuple[Samples, Wall]) -> None:
    samples, _ = shelved
    for n in range(1000):
        samples.keep(n, attempt(), sampled())
    found = [issue for issue in range(60) if await samples.of(issue)]
    assert len(found) <= 20


async def test_a_disk_that_refuses_costs_samples_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    samples = Samples(tmp_path, MASKED, str)
    samples.start()
    samples.keep(1, attempt(), None)
    assert await samples.of(1) == []
    await samples.close()


def test_where_the_console_is_off_no_file_is_left(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"x")
    (tmp_path / f"{NAME}.new").write_bytes(b"x")
    remove_samples(tmp_path)
    remove_samples(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert sample_file.A_CAUSE == 3
