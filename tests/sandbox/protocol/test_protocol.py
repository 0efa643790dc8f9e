"""What the wire promises: every message arrives as it was sent, and nothing else does."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import protocol
from sandbox.protocol import (
    MAX_ANSWER_BODY,
    MAX_BATCH_EVENTS,
    MAX_HEADER,
    MAX_HEADER_NAME,
    MAX_HEADERS,
    MAX_KEPT,
    MAX_METHOD,
    MAX_REQUEST_BODY,
    MAX_URL,
    Abandon,
    AskToken,
    Batch,
    BatchDone,
    Collect,
    Collected,
    CollectionStarted,
    Configure,
    Connect,
    Connected,
    ConnectFailure,
    CurrentToken,
    Declaration,
    Declared,
    Drain,
    DryRunBatch,
    FrameReader,
    FromWorker,
    FromWorkerChannel,
    FromZygote,
    GiveUpToken,
    GotAnswer,
    KeepToken,
    Limits,
    Log,
    Message,
    OutcomeCode,
    Outcomes,
    OutOfMemory,
    Ping,
    Pong,
    Proceed,
    ProtocolError,
    Raised,
    Ready,
    RunSelftest,
    Sampled,
    SelftestRan,
    SentRequest,
    Spawn,
    Spawned,
    SpawnFailed,
    Stats,
    Taken,
    TokenDenied,
    TokenGranted,
    TokenStored,
    ToWorker,
    ToWorkerChannel,
    Unconnected,
    UnhandledException,
    Validate,
    Validated,
    WantSamples,
    Warm,
    Withheld,
    encode,
)

MAX_FRAME = 64 * 1024
ANY_KIND = ToWorker | FromWorker | FromWorkerChannel | ToWorkerChannel | FromZygote | Spawn

text = st.text(max_size=20)
texts = st.lists(text, max_size=4)
ints = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | ints | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, json_values, max_size=3)
named = st.dictionaries(text, text, max_size=3)
outcomes = st.lists(
    st.tuples(ints, st.sampled_from(OutcomeCode), text, st.none() | floats), max_size=4
)
declarations = st.builds(
    Declaration,
    types=st.frozensets(text, max_size=3),
    aliases=st.lists(text, max_size=3).map(tuple),
    hosts=st.lists(text, max_size=3).map(tuple),
    batch_events=st.integers(1, MAX_BATCH_EVENTS),
    batch_bytes=st.integers(1, 2**63 - 1),
    settings_schema=objects,
    dry_answers=named,
)

sizes = st.integers(0, 2**53)
digests = st.text(max_size=16)
sample_headers = st.dictionaries(text, text, max_size=MAX_HEADERS)
sent_requests = st.builds(
    SentRequest,
    st.text(max_size=MAX_METHOD),
    text,
    sample_headers,
    st.binary(max_size=50),
    sizes,
    digests,
)
got_answers = st.builds(
    GotAnswer, st.integers(0, 9999), sample_headers, st.binary(max_size=50), sizes, digests
)

#: A `Declared` whose settings have a schema of one key, up to the value.
DECLARED = b"\x93\x11\xa1d\x82\xa5types\x90\xafsettings_schema\x81\xa1x"
KINDS = ("heapsnapshot", "summary", "hpy", "tasks", "speedscope", "collapsed")

by_kind: dict[type[Message], st.SearchStrategy[Message]] = {
    Configure: st.builds(Configure, text, text, objects, ints),
    Batch: st.builds(Batch, ints, text, floats, st.lists(st.binary(max_size=50), max_size=4)),
    DryRunBatch: st.builds(
        DryRunBatch, ints, text, floats, st.lists(st.binary(max_size=50), max_size=4)
    ),
    Drain: st.builds(Drain),
    Validate: st.builds(Validate, text, text, objects),
    RunSelftest: st.builds(RunSelftest, text, text, ints),
    SelftestRan: st.builds(SelftestRan, st.lists(st.tuples(text, ints, texts), max_size=3)),
    Ready: st.builds(Ready, ints, st.dictionaries(text, text, max_size=3)),
    Declared: st.builds(Declared, text, text | declarations),
    Validated: st.builds(Validated, text, texts),
    Outcomes: st.builds(Outcomes, ints, outcomes),
    BatchDone: st.builds(BatchDone, ints),
    Stats: st.builds(Stats, floats, ints, ints, text),
    Raised: st.builds(Raised, ints, text),
    Log: st.builds(Log, ints, text, text, ints),
    Proceed: st.builds(Proceed, ints),
    Ping: st.builds(Ping, ints),
    Pong: st.builds(Pong, ints),
    AskToken: st.builds(AskToken, text, text, st.binary(max_size=32), ints),
    KeepToken: st.builds(KeepToken, text, ints, st.binary(max_size=50)),
    GiveUpToken: st.builds(GiveUpToken, text, ints, st.booleans()),
    WantSamples: st.builds(WantSamples, st.booleans()),
    Sampled: st.builds(Sampled, ints, ints, sent_requests, st.none() | got_answers),
    CurrentToken: st.builds(CurrentToken, text, ints, st.binary(max_size=50)),
    TokenGranted: st.builds(TokenGranted, text, ints, st.binary(max_size=50), text),
    TokenStored: st.builds(TokenStored, text, ints),
    TokenDenied: st.builds(TokenDenied, text, text),
    CollectionStarted: st.builds(CollectionStarted, ints, st.none() | ints),
    Collected: st.builds(Collected, ints, text, floats),
    Collect: st.builds(Collect, ints, st.sampled_from(KINDS), st.booleans(), floats),
    OutOfMemory: st.builds(OutOfMemory, text, text),
    UnhandledException: st.builds(UnhandledException, text, text, ints),
    Connect: st.builds(Connect, ints, text, text, ints),
    Taken: st.builds(Taken, ints),
    Abandon: st.builds(Abandon, ints),
    Connected: st.builds(Connected, ints),
    Unconnected: st.builds(Unconnected, ints, st.sampled_from(ConnectFailure), ints, text),
    Spawn: st.builds(
        Spawn,
        ints,
        text,
        st.lists(st.tuples(text, st.none() | text), max_size=3),
        texts,
        st.builds(Limits, ints, ints, ints, floats),
        text,
        st.none() | text,
        st.booleans(),
        ints | st.builds(Withheld, text),
        text | st.builds(Withheld, text),
        st.none() | st.builds(Withheld, text),
        texts,
        ints,
    ),
    Spawned: st.builds(Spawned, ints, ints),
    SpawnFailed: st.builds(SpawnFailed, ints, text),
    Warm: st.builds(Warm, ints),
}
messages = st.one_of(*by_kind.values())


def reader(kinds: Any = ANY_KIND, max_frame: int = MAX_FRAME) -> FrameReader:  # Any: a union
    return FrameReader(kinds, max_frame)


def fault_of(frames: FrameReader, data: bytes) -> str:
    """What the reader says of data that must be refused."""
    try:
        frames.feed(data)
        frames.check()
    except ProtocolError as error:
        return str(error)
    pytest.fail("it was taken")


def test_every_message_is_tried_here() -> None:
    """No message of the protocol is missing from these tests."""
    declared = {
        one
        for one in vars(protocol).values()
        if isinstance(one, type) and issubclass(one, Message) and one is not Message
    }
    assert set(by_kind) == declared


@given(st.lists(messages, max_size=5))
def test_what_is_sent_arrives(sent: list[Message]) -> None:
    """Messages fed whole come out as they were sent, in order."""
    assert reader().feed(b"".join(map(encode, sent))) == sent


@given(messages)
@settings(max_examples=50)
def test_a_frame_may_come_byte_by_byte(sent: Message) -> None:
    """A message comes out with its last byte, and not before."""
    frames = reader()
    *first, last = encode(sent)
    for byte in first:
        assert frames.feed(bytes([byte])) == []
    assert frames.feed(bytes([last])) == [sent]
    frames.check()


@given(st.lists(messages, min_size=1, max_size=4), st.data())
def test_the_stream_may_be_cut_anywhere(sent: list[Message], data: st.DataObject) -> None:
    """However the stream is cut, the messages are the same."""
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames = reader()
    received: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += frames.feed(stream[start:end])
    assert received == sent


@given(messages, messages, st.data())
def test_what_trails_waits(first: Message, second: Message, data: st.DataObject) -> None:
    """A message comes out though the next has begun, and that one when it is whole."""
    frames = reader()
    encoded = encode(second)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert frames.feed(encode(first) + encoded[:cut]) == [first]
    assert frames.feed(encoded[cut:]) == [second]


@given(messages, st.data())
def test_a_truncated_frame_is_no_message(sent: Message, data: st.DataObject) -> None:
    """Of a frame that is cut short, nothing comes out."""
    encoded = encode(sent)
    frames = reader()
    assert frames.feed(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) == []
    frames.check()


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    """Any bytes are messages, an unfinished frame or a ProtocolError, and nothing else."""
    frames = reader()
    try:
        received = frames.feed(data)
        frames.check()
    except ProtocolError:
        return
    assert all(isinstance(one, Message) for one in received)


@given(
    st.recursive(
        st.none() | st.booleans() | ints | floats | text | st.binary(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=9)
            | st.dictionaries(st.none() | ints | text | st.binary(max_size=4), inner, max_size=3)
        ),
        max_leaves=20,
    ),
    st.sampled_from([*range(1, 5), *range(16, 23), *range(32, 36), 99]),
)
@settings(max_examples=300)
def test_any_msgpack_is_a_message_or_refused(value: object, kind: int) -> None:
    """Well-formed msgpack of any content is a message of the protocol or a ProtocolError."""
    body = value if isinstance(value, list) else [value]
    for frame in (value, [kind, *body]):
        frames = reader()
        try:
            received = frames.feed(msgpack.packb(frame))
        except ProtocolError:
            continue
        (message,) = received
        assert type(message) in by_kind


@given(messages, st.data())
@settings(max_examples=300)
def test_a_flipped_byte_is_survived(sent: Message, data: st.DataObject) -> None:
    """A damaged frame is another message, unfinished or a ProtocolError."""
    damaged = bytearray(encode(sent))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    frames = reader()
    try:
        frames.feed(bytes(damaged))
        frames.check()
    except ProtocolError:
        pass


@given(messages)
def test_the_wrong_kind_is_refused(sent: Message) -> None:
    """A worker cannot speak the supervisor's part, nor the zygote's."""
    frames = reader(FromWorker)
    if isinstance(sent, FromWorker):
        assert frames.feed(encode(sent)) == [sent]
    else:
        assert "malformed frame" in fault_of(frames, encode(sent))


@pytest.mark.parametrize(
    "frame",
    [
        [],
        [20],
        [20, 1, 2],
        [20, "1"],
        [20, 1.5],
        [20, None],
        [21, "0.1", 3],
        ["20", 1],
        [True, 1],
        [-1],
        [2**63],
        {20: 1},
        {"tag": 20},
        20,
        None,
        "20",
        [19, 1, [[0, 0, "x"]]],
        [19, 1, [[0, 0, "x", "soon"]]],
        [19, 1, [[0, 0, b"x", None]]],
        [22, 20, "connection", "text", 0, "more"],
        [16, 1, {1: "on"}],
        [16, 1, {b"uid": "on"}],
        [17, "d", None, [], [], [], 1, 1, {1: "x"}],
        [17, "d", None, [], [], [], 1, 1, []],
    ],
)
def test_the_wrong_shape_is_refused(frame: object) -> None:
    """Fields that miss, fields too many, wrong types and frames that are no array are errors."""
    assert fault_of(reader(FromWorker), msgpack.packb(frame)).startswith("malformed frame")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xc1", "not msgpack"),  # the one byte that msgpack does not use
        (b"\x92\x14\xc1", "not msgpack"),
        (b"\xc9\xff\xff\xff\xff\x01", "malformed"),  # its length and kind overflow 32 bits
        (b"\x92\x14\xd4\x05x", "malformed"),  # an extension where a number belongs
        (DECLARED + b"\xd4\x05x", "extension type 5"),
        (b"\x93\x12\xa1c\x91\xa2\xff\xfe", "UTF-8"),
        (b"\x93\x12\xa2\xc3\x28\x90", "UTF-8"),
        (b"\x93\x12\xa3\xed\xa0\x80\x90", "UTF-8"),  # a surrogate
        (b"\x91" * 5000, "not msgpack"),
        (b"\x81\x01" * 5000, "not msgpack"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, says: str) -> None:
    """Unused codes, extensions, invalid UTF-8 and endless nesting are refused by name."""
    assert says.lower() in fault_of(reader(FromWorker), data).lower()


@pytest.mark.parametrize("depth", [100, 900])
def test_deep_values_are_no_danger(depth: int) -> None:
    """Settings nested as deep as frames may be are a message or an error, never a crash."""
    frame = DECLARED + b"\x91" * depth + b"\xc0"
    try:
        (message,) = reader(FromWorker).feed(frame)
    except ProtocolError:
        return
    assert isinstance(message, Declared)


@pytest.mark.parametrize(
    ("union", "kinds"),
    [
        (ToWorker, range(1, 16)),
        (FromWorker, [*range(16, 32), *range(64, 80)]),
        (FromZygote | Spawn, range(32, 48)),
        (FromWorkerChannel, range(48, 56)),
        (ToWorkerChannel, range(56, 64)),
    ],
    ids=["to worker", "from worker", "zygote", "channel from worker", "channel to worker"],
)
def test_kinds_of_a_direction_lie_together(
    union: Any, kinds: Sequence[int]
) -> None:  # Any: a union
    """As the README of the protocol says; no kind is used twice."""
    found = [message.__struct_config__.tag for message in get_args(union)]
    assert set(found) <= set(kinds)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("number", [-1, len(OutcomeCode), 2**63])
def test_an_outcome_that_nobody_knows_is_no_frame(number: int) -> None:
    """A number that is no `OutcomeCode` is refused at the edge; those inside match without rest."""
    frame = msgspec.msgpack.encode([19, 1, [[0, 0, "", None], [1, number, "", None]]])
    assert f"enum value {number}" in fault_of(reader(FromWorker), frame)


@pytest.mark.parametrize("number", [-1, len(ConnectFailure)])
def test_a_failure_to_connect_that_nobody_knows_is_no_datagram(number: int) -> None:
    """The same holds of a `ConnectFailure`."""
    frame = msgspec.msgpack.encode([57, 1, number, 0, ""])
    assert f"enum value {number}" in fault_of(reader(ToWorkerChannel), frame)


def test_a_kept_value_is_bounded_and_shown_by_nobody() -> None:
    """What a worker wants to be kept has a size; no message with one in it shows it."""
    assert "length" in fault_of(reader(FromWorker), encode(KeepToken("a", 1, bytes(MAX_KEPT + 1))))
    for message in (
        KeepToken("a", 1, b"secret"),
        CurrentToken("a", 1, b"secret"),
        TokenGranted("a", 1, b"secret", ""),
    ):
        assert "secret" not in repr(message) + str(message)


def test_numbers_on_the_wire_stay_what_they_are() -> None:
    """An enum's members are encoded as the integers that they were before they had names."""
    names = (
        "DELIVERED RETRY FAILED UNSUPPORTED RETRY_ALONE THROTTLED TIMEOUT CONNECT SERVER "
        "UNAUTHORIZED LOCKED_OUT SETUP"
    )
    assert " ".join(OutcomeCode(number).name for number in range(len(OutcomeCode))) == names
    assert encode(Outcomes(1, [(0, OutcomeCode.SERVER, "", None)])) == msgspec.msgpack.encode(
        [19, 1, [[0, 8, "", None]]]
    )


def test_what_was_complete_before_a_fault_counts() -> None:
    """Messages ahead of garbage are returned, and then the reader refuses for good."""
    frames = reader(FromWorker)
    assert frames.feed(encode(BatchDone(1)) + encode(BatchDone(2)) + b"\xc1") == [
        BatchDone(1),
        BatchDone(2),
    ]
    with pytest.raises(ProtocolError):
        frames.check()
    with pytest.raises(ProtocolError):
        frames.feed(encode(BatchDone(3)))


def test_a_frame_has_a_largest_size() -> None:
    """A frame of exactly the limit is taken, one byte more is refused, whole or in parts."""
    limit = 1000
    largest = encode(Validated("x" * (limit - 6), []))
    assert len(largest) == limit
    assert len(reader(FromWorker, limit).feed(largest)) == 1
    larger = encode(Validated("x" * (limit - 5), []))
    assert "larger than" in fault_of(reader(FromWorker, limit), larger)
    frames = reader(FromWorker, limit)
    for byte in larger[:-1]:
        assert frames.feed(bytes([byte])) == []
    assert "larger than" in fault_of(frames, larger[-1:])


def test_many_frames_may_come_at_once() -> None:
    """The limit is on each frame, not on what arrives together."""
    stream = encode(BatchDone(1)) * 10_000
    frames = reader(FromWorker, 100)
    assert len(frames.feed(stream)) == 10_000


@pytest.mark.parametrize(
    "claim",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x3f\xff\xff" * 900,
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xfe\x01",
        b"\x93\x13\x01\xdd\xff\xff\xff\xff",
        b"\x92\x14\xdd\x7f\xff\xff\xff" + b"\xdd\x7f\xff\xff\xff" * 500,
    ],
)
def test_claims_cost_nothing(claim: bytes) -> None:
    """An array, map, text or extension of 4 G that is only announced takes no memory."""
    frames = reader(FromWorker, protocol.MAX_FRAME_FROM_WORKER)
    tracemalloc.start()
    try:
        assert frames.feed(claim) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "opening",
    [
        b"\xdd\xff\xff\xff\xff",  # an array that never ends, of small numbers
        b"\xc6\xff\xff\xff\xff",  # one value that never ends
        b"\x92\x14\xdd\xff\xff\xff\xff" + b"\xdd\xff\xff\xff\xff" * 100,
    ],
)
def test_rubbish_does_not_pile_up(opening: bytes) -> None:
    """Fed 100 MB of one frame, the reader stops at its limit and holds no more than that."""
    limit = 1024 * 1024
    frames = reader(FromWorker, limit)
    part = b"\x01" * 65536
    taken = 0
    tracemalloc.start()
    try:
        frames.feed(opening)
        while taken + len(part) <= limit - len(opening):
            assert frames.feed(part) == []
            taken += len(part)
        for _ in range((100_000_000 - taken) // len(part)):
            with pytest.raises(ProtocolError, match="larger than"):
                frames.feed(part)
        assert tracemalloc.get_traced_memory()[1] < 3 * limit
    finally:
        tracemalloc.stop()


def test_a_large_frame_costs_what_it_is_worth() -> None:
    """A frame that comes in small parts is looked at once, not anew with every part."""
    event = b"x" * 1000
    encoded = encode(Batch(1, "c", 1.0, [event] * 20_000))
    frames = reader(ToWorker, protocol.MAX_FRAME_TO_WORKER)
    received: list[Any] = []  # Any: as `feed` returns
    started = time.process_time()
    for at in range(0, len(encoded), 1000):
        received += frames.feed(encoded[at : at + 1000])
    assert time.process_time() - started < 5  # 20 MB in 20 000 parts; quadratic would be minutes
    assert [len(one.events) for one in received] == [20_000]


@given(messages)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_frame_is_an_array_that_opens_with_its_kind(sent: Message) -> None:
    """On the wire a message is one msgpack array with a small integer in front."""
    frame = msgpack.unpackb(encode(sent), strict_map_key=False)
    assert isinstance(frame, list)
    assert frame[0] == type(sent).__struct_config__.tag
    assert len(frame) == 1 + len(msgspec.structs.fields(sent))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800"])
def test_what_msgpack_cannot_carry_is_a_value_error(value: object) -> None:
    """Integers past 64 bits and lone surrogates are the sender's error."""
    with pytest.raises(ValueError, match=r"serialize|surrogates"):
        encode(Configure("c", "d", {"x": value}))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("url", "u" * (MAX_URL + 1)),
        ("method", "m" * (MAX_METHOD + 1)),
        ("headers", {"n" * (MAX_HEADER_NAME + 1): ""}),
        ("headers", {"n": "v" * (MAX_HEADER + 1)}),
        ("headers", {f"n{n}": "" for n in range(MAX_HEADERS + 1)}),
        ("body", b"b" * (MAX_REQUEST_BODY + 1)),
        ("digest", "d" * 17),
        ("size_bytes", -1),
    ],
)
def test_a_sample_that_is_larger_than_any_honest_one_is_refused(place: str, text: object) -> None:
    """Each of its parts has a bound of its own, and the largest of them all fit into its frame."""
    largest = SentRequest(
        "m" * MAX_METHOD,
        "é" * MAX_URL,
        {f"{n:x}" + "é" * (MAX_HEADER_NAME - 1): "é" * MAX_HEADER for n in range(MAX_HEADERS)},
        b"b" * MAX_REQUEST_BODY,
        0,
        "",
    )
    answer = GotAnswer(400, largest.headers, b"b" * MAX_ANSWER_BODY, 0, "")
    reader = FrameReader(FromWorker, MAX_FRAME, sizes=protocol.FRAME_SIZES)
    assert reader.feed(encode(Sampled(1, 0, largest, answer))) == [Sampled(1, 0, largest, answer)]
    larger = msgspec.structs.replace(largest, **{place: text})
    with pytest.raises(ProtocolError, match="malformed"):
        reader.feed(encode(Sampled(1, 0, larger, None)))
