"""What an event is, and what is stored of it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.ingest.router import EVENT_TYPES
from supervisor.ingest.validation import (
    MAX_MESSAGE_ID,
    BadBody,
    EventReader,
    mend_surrogates,
    read_batch,
    read_single,
)
from tests.ingest.conftest import RECEIVED_AT, router

Json = dict[str, Any]  # Any: events are JSON
#: Fields that mean something to the API.
KNOWN = {
    *("type", "event", "userId", "anonymousId", "groupId", "previousId", "messageId", "writeKey"),
    *("properties", "traits", "context", "integrations"),
    *("timestamp", "originalTimestamp", "sentAt", "receivedAt"),
}
GOOD: Json = {"type": "track", "userId": "ann", "event": "Tested", "messageId": "m"}


def reader(body: bytes, path_type: str | None = None, max_event: int = 32 * 1024) -> EventReader:
    """A reader that has read all of a body. Raises BadBody."""
    found = EventReader(
        read_single(body, path_type) if path_type else read_batch(body),
        source="web",
        route=router().route,
        received_at=RECEIVED_AT,
        max_event=max_event,
        max_request=512_000,
    )
    found.read(0, len(body))
    return found


def read(*events: object, **batch: object) -> EventReader:
    """The same for a batch of `events`."""
    return reader(json.dumps({"batch": events, **batch}).encode())


def stored(event: Json, **batch: object) -> Json:
    """What is stored of a valid event."""
    found = read(event, **batch)
    assert not found.rejected
    decoded: Json = msgspec.json.decode(found.events[0].body)
    return decoded


def reason(event: object) -> str:
    """Why an event is not taken."""
    found = read(event)
    assert not found.events
    return found.rejected[0].message


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "track", "event": "x"}, "userId or anonymousId is required"),
        ({**GOOD, "userId": ""}, "userId or anonymousId is required"),
        ({**GOOD, "event": None}, "event (its name) is required for track"),
        ({**GOOD, "event": 5}, "event must be a string, not a number"),
        ({"type": "group", "userId": "a"}, "groupId is required for group"),
        ({"type": "alias", "userId": "a"}, "userId and previousId are required for alias"),
        ({**GOOD, "type": None}, "type is required"),
        ({**GOOD, "type": "Track"}, 'type is "Track"; it must be one of identify, track'),
        ({**GOOD, "type": ["track"]}, "type is an array; it must be one of"),
        ({**GOOD, "userId": {}}, "userId must be a string, not an object"),
        ({**GOOD, "userId": True}, "userId must be a string, not a boolean"),
        ({**GOOD, "properties": "a"}, "properties must be an object, not a string"),
        ({**GOOD, "context": [1]}, "context must be an object, not an array"),
        ({**GOOD, "messageId": []}, "messageId must be a string, not an array"),
        ({**GOOD, "messageId": "x" * (MAX_MESSAGE_ID + 1)}, "messageId has 256 characters; at"),
        ("track", "the event must be a JSON object"),
        (None, "the event must be a JSON object"),
    ],
)
def test_what_is_wrong_is_said_in_words(event: object, message: str) -> None:
    """A rejected event is told what it lacks."""
    assert reason(event).startswith(message)


def test_a_good_event_is_kept_whole() -> None:
    """Fields that nobody here knows are stored; the write key is not."""
    event = stored({**GOOD, "channel": "server", "version": 2, "odd": [1, None], "writeKey": "key"})
    assert event["channel"] == "server"
    assert event["version"] == 2
    assert event["odd"] == [1, None]
    assert "writeKey" not in event


def test_numeric_ids_become_text() -> None:
    """Ids posted as numbers are stored as the text that they look like."""
    found = read({**GOOD, "userId": 42, "anonymousId": 7.0, "messageId": 1.5})
    event = msgspec.json.decode(found.events[0].body)
    assert (event["userId"], event["anonymousId"], event["messageId"]) == ("42", "7", "1.5")
    assert found.events[0].user_key == "42"
    assert found.events[0].message_id == "1.5"


def test_an_empty_array_is_an_empty_object() -> None:
    """PHP's `[]` where an object belongs is taken for one."""
    assert stored({**GOOD, "properties": [], "context": []})["properties"] == {}


def test_an_event_without_an_id_gets_one() -> None:
    """A messageId that is missing, null or empty is made up, a new one each time."""
    found = read(*({**GOOD, "messageId": missing} for missing in (None, "", None)))
    ids = [event.message_id for event in found.events]
    assert len(set(ids)) == 3
    assert [msgspec.json.decode(event.body)["messageId"] for event in found.events] == ids


def test_what_a_batch_shares_is_merged_in() -> None:
    """The batch's context and integrations are in each event, whose own values win."""
    event = stored(
        {**GOOD, "context": {"ip": "1.1.1.1"}, "integrations": {"Mixpanel": True}},
        context={"ip": "9.9.9.9", "locale": "de"},
        integrations={"All": False},
    )
    assert event["context"] == {"ip": "1.1.1.1", "locale": "de"}
    assert event["integrations"] == {"All": False, "Mixpanel": True}
    assert stored(GOOD, context={"locale": "de"})["context"] == {"locale": "de"}


def test_the_merged_integrations_decide_the_route() -> None:
    """An event goes where its own and its batch's integrations together say."""
    found = read(
        GOOD, {**GOOD, "integrations": {"Webhooks": True}}, integrations={"Webhooks": False}
    )
    assert [event.route.pending for event in found.events] == [
        ("mixpanel",),
        ("mixpanel", "webhooks"),
    ]


def test_a_path_names_the_type() -> None:
    """On the path of a type, events need not name it, and cannot name another."""
    body = {"userId": "ann", "event": "x"}
    assert reader(json.dumps(body).encode(), "track").events[0].type == "track"
    found = reader(json.dumps({**body, "type": "page"}).encode(), "track")
    assert found.rejected[0].message == 'type is "page", but this is the path for track'


def test_one_bad_event_does_not_sink_the_others() -> None:
    """Rejected events are listed by their index in the batch; the others are taken."""
    found = read({}, GOOD, 5, GOOD)
    assert len(found.events) == 2
    assert [(item.index, item.code) for item in found.rejected] == [
        (0, "unknown_type"),
        (2, "not_an_object"),
    ]


@pytest.mark.parametrize("depth", [63, 64])
def test_nesting_is_limited(depth: int) -> None:
    """An event of 64 levels is taken, one of 65 is not."""
    properties: Json = {}
    for _ in range(depth - 2):
        properties = {"a": properties}
    found = read({**GOOD, "properties": properties})
    assert not found.rejected
    deeper = read({**GOOD, "properties": {"a": [{"a": properties}]}})
    assert deeper.rejected[0].code == "too_deep"


def test_many_brackets_are_not_depth() -> None:
    """A flat event may hold any number of objects."""
    assert stored({**GOOD, "properties": {"products": [{}] * 500}})


def test_an_event_has_a_size() -> None:
    """An event may have as many bytes as the config says, as they were sent."""
    size = len(json.dumps(GOOD))
    body = json.dumps({"batch": [GOOD, {**GOOD, "event": "Tested!"}]}).encode()
    found = reader(body, max_event=size)
    assert len(found.events) == 1
    assert found.rejected[0].message == f"the event has {size + 1} bytes; at most {size}"


def test_a_shared_context_cannot_multiply() -> None:
    """A large context in a batch of many small events is not stored a thousand times."""
    found = read(*[GOOD] * 1000, context={"a": "x" * 20_000})
    assert sum(len(event.body) for event in found.events) < 10 * 512_000
    assert found.rejected[-1].code == "too_large"


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00 x"', rb'"\ufffd x"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
    ],
)
def test_half_a_character_is_replaced(text: bytes, mended: bytes) -> None:
    """Half a surrogate pair, as JavaScript cuts strings, becomes U+FFFD; all else stays."""
    assert mend_surrogates(text) == mended


def test_cut_strings_and_byte_order_marks_are_taken() -> None:
    """What real clients send and JSON forbids is taken where its meaning is plain."""
    body = b'\xef\xbb\xbf{"batch":[{"type":"track","userId":"a","event":"x\\ud83d"}]}'
    event = msgspec.json.decode(reader(body).events[0].body)
    assert event["event"] == "x\ufffd"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "invalid_json", "the body is empty; send JSON"),
        (b"{", "invalid_json", "the body is not JSON: Input data was truncated"),
        (b'{"batch":[NaN]}', "invalid_json", "NaN and Infinity are not JSON, send null"),
        (b"[]", "not_an_object", "the body must be a JSON object"),
        (b"{}", "invalid_batch", 'the body needs "batch", an array of events'),
        (b'{"batch":5}', "invalid_batch", '"batch" must be an array of events'),
        (b'{"batch":[]}', "empty_batch", '"batch" holds no events'),
        (b'{"batch":[{}],"context":5}', "wrong_type", 'the batch\'s "context" must be an object'),
        (b'{"batch":[' + b"[" * 9999 + b"]}", "too_deep", "the body is nested deeper than 64"),
        (b'{"batch":[' + b"1," * 9999 + b"1]}", "invalid_batch", "cannot be events"),
    ],
)
def test_a_body_that_is_none_is_told_why(body: bytes, code: str, words: str) -> None:
    """A request without events is refused as a whole, with the reason."""
    with pytest.raises(BadBody) as refusal:
        reader(body)
    assert refusal.value.code == code
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"1e999", "the event holds a number that is out of range"),
        (b'"\xff"', "the event is not UTF-8: byte 0xff"),
        (b"9" * 5000, "the event holds a number that is out of range"),
    ],
)
def test_a_value_that_nobody_can_read_sinks_only_its_event(value: bytes, words: str) -> None:
    """Numbers out of range and bytes that are no text reject their event alone."""
    good = json.dumps(GOOD).encode()
    found = reader(b'{"batch":[' + good + b"," + good[:-1] + b',"a":' + value + b"}]}")
    assert len(found.events) == 1
    assert found.rejected[0].message == words


finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
fields = st.sampled_from(
    ["type", "userId", "anonymousId", "groupId", "previousId", "messageId", "event", "traits"]
) | st.sampled_from(
    ["properties", "context", "integrations", "timestamp", "sentAt", "writeKey", "x"],
)
events = st.dictionaries(fields, json_values | st.sampled_from(EVENT_TYPES), max_size=8)


@settings(max_examples=200)
@given(
    st.lists(events | json_values, max_size=4),
    st.dictionaries(
        st.sampled_from(["context", "integrations", "sentAt", "writeKey"]), json_values
    ),
)
def test_every_event_is_taken_or_told_why(batch: list[object], shared: Json) -> None:
    """Whatever is in a batch, each of its events is stored as valid JSON, or rejected in words."""
    with contextlib.suppress(BadBody):
        found = read(*batch, **shared)
        assert len(found.events) + len(found.rejected) == len(batch)
        for event in found.events:
            body = msgspec.json.decode(event.body)
            assert body["messageId"] == event.message_id
            assert body["type"] == event.type in EVENT_TYPES
            assert event.user_key
        assert all(item.code and item.message for item in found.rejected)


@settings(max_examples=200)
@given(st.binary(max_size=80), st.sampled_from([None, "track"]))
def test_any_bytes_are_read_or_refused(body: bytes, path_type: str | None) -> None:
    """No body raises anything but BadBody."""
    with contextlib.suppress(BadBody):
        reader(body, path_type)


@settings(max_examples=200)
@given(st.data())
def test_any_damage_is_noticed_or_harmless(data: st.DataObject) -> None:
    """A good body with some bytes changed is read or refused, never anything else."""
    body = bytearray(json.dumps({"batch": [GOOD, GOOD], "context": {"a": "\ud83d"}}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadBody):
        for event in reader(bytes(body)).events:
            msgspec.json.decode(event.body)


NUMBERS = [
    *("1.10", "-0", "-0.0", "1E5", "1e+05", "0.1e1", "1.0", "100000000000000000000000.0"),
    *("12345678901234567890123", "-9223372036854775809", "0.30000000000000004", "5e-324"),
    *("1.000000000000000001", "1.7976931348623157e308", "3.14159265358979323846264338327950288"),
]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_stored_as_they_were_written(number: str) -> None:
    """Wherever they stand: beside what is set, in the batch's context, in the event's own."""
    body = (
        f'{{"batch":[{{"type":"track","userId":"ann","event":"x","extra":{number},'
        f'"properties":{{"a":[{number},{{"b" : {number}}}]}},"context":{{"own":{number}}}}}],'
        f'"context":{{"shared":{number},"own":0}},"integrations":{{"x":{{"y":{number}}}}}}}'
    )
    (found,) = reader(body.encode()).events
    text = found.body.decode()
    for where in (
        f'"extra":{number},',
        f'"a":[{number},{{"b" : {number}}}]',
        f'"shared":{number}',
        f'"own":{number}',
        f'"integrations":{{"x":{{"y":{number}}}}}',
    ):
        assert where in text
    assert msgspec.json.decode(found.body)["context"].keys() == {"shared", "own"}


def test_of_what_is_put_right_only_that_changes() -> None:
    """An id that is a number becomes text; the number beside it stays."""
    body = b'{"userId":7,"event":"x","properties":{"price":1.10},"traits":[],"a":-0}'
    (found,) = reader(body, "track").events
    assert b'"price":1.10' in found.body
    assert b'"a":-0' in found.body
    assert msgspec.json.decode(found.body)["userId"] == "7"
    assert msgspec.json.decode(found.body)["traits"] == {}


_TEXTS = st.text(max_size=8)
_VALUES = st.recursive(
    st.none() | st.booleans() | _TEXTS | st.sampled_from(NUMBERS).map(lambda text: f"\0{text}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any) -> str:  # Any: JSON, with numbers as texts that open with a NUL
    """A document as a sender writes it, with its numbers in any notation."""
    match value:
        case str() if value.startswith("\0") and value[1:] in NUMBERS:
            return value[1:]
        case list():
            return "[" + " , ".join(map(written, value)) + "]"
        case dict():
            pairs = (f"{json.dumps(name)} : {written(item)}" for name, item in value.items())
            return "{" + ",".join(pairs) + "}"
        case _:
            return json.dumps(value)


@settings(max_examples=300)
@given(st.dictionaries(_TEXTS.filter(lambda name: name not in KNOWN), _VALUES, max_size=4))
def test_what_is_not_known_is_kept_byte_for_byte(fields: Json) -> None:
    """Every field that nobody sets stands in what is stored as the sender wrote it."""
    own = "".join(f",{json.dumps(name)}:{written(value)}" for name, value in fields.items())
    (found,) = reader(f'{{"userId":"ann","event":"x"{own}}}'.encode(), "track").events
    kept = msgspec.json.decode(found.body, type=dict[str, msgspec.Raw])
    for name, value in fields.items():
        assert bytes(kept[name]).decode() == written(value)
    assert msgspec.json.decode(found.body).keys() >= {"messageId", "receivedAt", "timestamp"}
