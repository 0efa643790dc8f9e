"""`bulkhead send`: nothing is lost, and every line is accounted for."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.commands.endpoint import parse_endpoint
from supervisor.commands.sender import (
    BATCH_BYTES,
    Counts,
    Line,
    Rejected,
    Sender,
    Undelivered,
    batches,
    events_per_batch,
)
from tests.commands.conftest import Bulkhead
from tests.commands.servers import Script, serving, tracking_app


def events(count: int) -> str:
    return "".join(
        json.dumps({"type": "track", "event": "e", "userId": "u", "messageId": f"m{n}"}) + "\n"
        for n in range(count)
    )


def a_sender(url: str, waits: list[float], **options: float) -> Sender:
    """A sender that never really waits."""
    return Sender(
        parse_endpoint(url),
        "key",
        patience_s=options.get("patience_s", 60.0),
        on_wait=lambda why, wait_s: waits.append(wait_s),
        sleep=lambda seconds: None,
    )


def a_batch(count: int = 2) -> list[Line]:
    return list(*batches(io.BytesIO(events(count).encode()), Counts(), lambda rejected: None))


def test_a_file_is_sent_in_batches(
    bulkhead: Bulkhead, script: Script, url: str, tmp_path: Path
) -> None:
    """Every line arrives once, in order, a hundred at a time, and the counts say so."""
    file = tmp_path / "events.jsonl"
    file.write_text(events(250))
    ran = bulkhead("send", str(file), "--write-key", "key", "--url", url)
    assert (ran.code, ran.out) == (0, "250 events: 250 accepted, 0 rejected\n")
    assert [event["messageId"] for event in script.events] == [f"m{n}" for n in range(250)]
    assert [len(request["batch"]) for request in script.requests] == [100, 100, 50]
    assert all("sentAt" in request for request in script.requests)
    assert script.headers[0]["Authorization"] == "Basic a2V5Og=="


def test_rejected_lines_are_named(
    bulkhead: Bulkhead, script: Script, url: str, tmp_path: Path
) -> None:
    """Lines that we or the service reject are listed by number and reason, and the exit is 1."""
    file = tmp_path / "events.jsonl"
    file.write_text(events(1) + "\n{oops\n[1]\n" + events(1))
    script.answers = [
        (200, {}, {"success": True, "rejected": [{"index": 1, "code": "no", "message": "bad"}]})
    ]
    ran = bulkhead("send", str(file), "--write-key", "key", "--url", url)
    assert ran.code == 1
    assert ran.out == "4 events: 1 accepted, 3 rejected\n"
    assert f"{file}:3: invalid_json" in ran.err
    assert f"{file}:4: invalid_json" in ran.err
    assert f"{file}:5: no: bad" in ran.err


def test_a_batch_with_nothing_to_take_is_rejected_line_by_line(
    bulkhead: Bulkhead, script: Script, url: str, tmp_path: Path
) -> None:
    """A 400 rejects the lines it lists, or all of them where it lists none."""
    file = tmp_path / "events.jsonl"
    file.write_text(events(2))
    script.answers = [(400, {}, {"code": "invalid_request", "message": "no batch"})]
    ran = bulkhead("send", str(file), "--write-key", "key", "--url", url)
    assert (ran.code, ran.out) == (1, "2 events: 0 accepted, 2 rejected\n")


def test_a_missing_file_is_named(bulkhead: Bulkhead, url: str, tmp_path: Path) -> None:
    """A file that is not there is exit 1 with its name."""
    ran = bulkhead("send", str(tmp_path / "none"), "--write-key", "key", "--url", url)
    assert ran.code == 1
    assert "none: No such file" in ran.err


def test_an_unknown_key_ends_the_work(
    bulkhead: Bulkhead, script: Script, url: str, tmp_path: Path
) -> None:
    """A 401 is not tried again: no later answer would differ."""
    file = tmp_path / "events.jsonl"
    file.write_text(events(300))
    script.answers = [(401, {}, {"code": "unauthorized", "message": "unknown key"})]
    ran = bulkhead("send", str(file), "--write-key", "nope", "--url", url)
    assert ran.code == 1
    assert "write key is unknown" in ran.err
    assert len(script.requests) == 1


def test_a_full_service_is_waited_for(script: Script, url: str) -> None:
    """429 and 503 are tried again after Retry-After, with the same events and a retry count."""
    full = {"code": "queue_full", "message": "the queue is full"}
    script.answers = [(429, {"Retry-After": "7"}, full), (503, {"Retry-After": "3"}, full)]
    waits: list[float] = []
    counts = Counts()
    with a_sender(url, waits) as sender:
        sender.send(a_batch(), counts, lambda rejected: None)
    assert waits == [7.0, 3.0]
    assert counts.accepted == 2
    assert script.requests[0]["batch"] == script.requests[2]["batch"]
    assert [headers.get("X-Retry-Count") for headers in script.headers] == [None, "1", "2"]


def test_pauses_grow_where_none_is_named(script: Script, url: str) -> None:
    """Without Retry-After the pauses grow with jitter and stay below their ceiling."""
    script.answers = [(502, {}, {})] * 10
    waits: list[float] = []
    with a_sender(url, waits, patience_s=1e9) as sender:
        sender.send(a_batch(), Counts(), lambda rejected: None)
    assert len(waits) == 10
    assert all(wait <= min(30.0, 0.5 * 2**n) for n, wait in enumerate(waits))
    assert waits[-1] >= 15


def test_patience_ends(script: Script, url: str) -> None:
    """A service that takes nothing for longer than the patience is given up on, with its reason."""
    script.answers = [(503, {"Retry-After": "100"}, {"code": "x", "message": "draining"})]
    with a_sender(url, [], patience_s=10) as sender, pytest.raises(Undelivered, match="draining"):
        sender.send(a_batch(), Counts(), lambda rejected: None)


def test_a_service_that_takes_less_gets_smaller_batches(script: Script, url: str) -> None:
    """After 413 a batch is halved until it fits; a single event that never fits is rejected."""
    script.largest = 200
    rejected: list[Rejected] = []
    counts = Counts()
    batch = [*a_batch(8), Line(99, b'{"type":"track","event":"%b"}' % (b"x" * 300))]
    with a_sender(url, []) as sender:
        sender.send(batch, counts, rejected.append)
    assert len(script.events) == 8
    assert [line.line for line in rejected] == [99]
    assert (counts.accepted, counts.rejected) == (8, 1)


def test_a_restarted_service_costs_no_event(script: Script, tmp_path: Path) -> None:
    """A service that went away after an answer is tried again, and gets the batch once it is up."""
    path = str(tmp_path / "api.sock")
    stack = ExitStack()
    counts = Counts()

    def come_back(why: str, wait_s: float) -> None:
        assert "is the service running?" in why
        stack.enter_context(serving(tracking_app(script), path))

    with stack:
        with serving(tracking_app(script), path) as address:
            sender = Sender(
                parse_endpoint(address),
                "key",
                patience_s=60,
                on_wait=come_back,
                sleep=lambda seconds: None,
            )
            stack.enter_context(sender)
            sender.send(a_batch(), counts, lambda rejected: None)
        sender.send(a_batch(), counts, lambda rejected: None)
    assert counts.accepted == 4
    assert len(script.requests) == 2


def test_events_get_a_message_id() -> None:
    """An event without a messageId is given one, so that sending it again is no duplicate."""
    stream = io.BytesIO(b'{"type":"track"}\n{"type":"track","messageId":""}\n')
    (batch,) = batches(stream, Counts(), lambda rejected: None)
    ids = [json.loads(line.body)["messageId"] for line in batch]
    assert len(set(ids)) == 2
    assert all(len(message_id) == 36 for message_id in ids)


def test_a_line_without_end_is_rejected_alone() -> None:
    """A line past the limit is rejected without being held, and the next one is taken."""
    stream = io.BytesIO(b'{"a":"' + b"x" * (3 * BATCH_BYTES) + b'"}\n{"type":"track"}\n')
    rejected: list[Rejected] = []
    (batch,) = batches(stream, Counts(), rejected.append)
    assert [(line.line, line.code) for line in rejected] == [(1, "too_large")]
    assert [line.number for line in batch] == [2]


@given(st.lists(st.integers(1, 200_000), max_size=30), st.integers(1, 100))
def test_batches_keep_to_their_limits(lengths: list[int], most: int) -> None:
    """Whatever the lines' lengths, no line is lost, reordered, or in a batch past the limits."""
    text = b"".join(b'{"messageId":"m","x":"%b"}\n' % (b"x" * length) for length in lengths)
    cut = list(batches(io.BytesIO(text), Counts(), lambda rejected: None, most))
    assert [line.number for batch in cut for line in batch] == list(range(1, len(lengths) + 1))
    for batch in cut:
        assert 1 <= len(batch) <= most
        assert sum(len(line.body) + 1 for line in batch) + 64 <= BATCH_BYTES


def test_a_slow_rate_goes_in_small_steps() -> None:
    """A rate is kept ten times a second where it allows, and never by a batch of none."""
    assert [events_per_batch(rate) for rate in (None, 5000.0, 500.0, 3.0)] == [100, 100, 50, 1]


def test_a_rate_is_kept(script: Script, url: str) -> None:
    """Batches are spaced so that the rate holds in the long run."""
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    sender = Sender(
        parse_endpoint(url),
        "key",
        patience_s=60,
        rate=10.0,
        on_wait=lambda why, wait_s: None,
        sleep=sleep,
        clock=lambda: now,
    )
    with sender:
        for _ in range(4):
            sender.send(a_batch(2), Counts(), lambda rejected: None)
    assert slept == pytest.approx([0.2, 0.2, 0.2])
