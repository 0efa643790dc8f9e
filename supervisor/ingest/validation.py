"""Bodies of tracking requests to validated events: pure, bytes in, values out.

Owns what an event has to be, in words, and what is stored of it: the batch's
`context` and `integrations` merged in, times corrected (`timestamps.py`), an id
where it had none, the write key left out. Whatever else a sender wrote is kept byte for
byte: numbers are not read and written anew, which would make `1.10` another text and
`-0` another number.
Must not do I/O or know HTTP; cost is bounded by the size of the body.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from supervisor.ingest.router import EVENT_TYPES
from supervisor.ingest.timestamps import Receipt
from supervisor.queue import NewEvent, Route

#: Levels of objects and arrays in an event, itself included.
MAX_DEPTH = 64
#: Longest `messageId`, in characters. Segment documents 100; SDKs with prefixes go past it.
MAX_MESSAGE_ID = 255
#: No valid event is shorter: `{"type":"page","userId":"1"},` is 29 bytes.
SHORTEST_EVENT = 28
#: So many items are looked at, and told apart, however short they are.
FEW_EVENTS = 1000
#: A batch's context is stored with every event: all together may be so many times the request.
MAX_GROWTH = 8

_BOM = b"\xef\xbb\xbf"
_TYPES = frozenset(EVENT_TYPES)
_TYPES_TEXT = ", ".join(EVENT_TYPES)
_TYPED: dict[str, type] = {
    **dict.fromkeys(("userId", "anonymousId", "groupId", "previousId", "messageId"), str),
    **dict.fromkeys(("properties", "traits", "context", "integrations"), dict),
}
#: What msgspec raises for bytes that are not the JSON that was asked for.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# A pair of surrogates or an escaped backslash (kept), or one half of a pair.
_SURROGATES = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)

Json = dict[str, Any]  # Any: senders decide what is in an event
#: The fields of an object, each as it was written.
Fields = dict[str, msgspec.Raw]


class Rejected(msgspec.Struct, frozen=True):
    """An event that is not taken: its index in the batch, a code of a closed set, the reason."""

    index: int
    code: str
    message: str


class BadBody(Exception):
    """The request as a whole holds no events; `code` and the text say why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Invalid(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Keyed(msgspec.Struct):
    writeKey: msgspec.Raw = msgspec.Raw()


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()
    sentAt: msgspec.Raw = msgspec.Raw()
    writeKey: msgspec.Raw = msgspec.Raw()


_decode_keyed = msgspec.json.Decoder(_Keyed).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A body taken apart, its events not looked at yet. `path_type` is None for a batch."""

    items: list[msgspec.Raw]
    path_type: str | None
    write_key: str | None
    context: Fields | None = None
    integrations: Fields | None = None
    sent_at: object = None
    shared_bytes: int = 0
    """Size of what is merged into each event."""


def read_single(body: bytes, event_type: str) -> Envelope:
    """The body of one event, posted to the path of `event_type`. Raises BadBody."""
    text, keyed = _tolerant(body, _decode_keyed)
    return Envelope(
        items=[msgspec.Raw(text)], path_type=event_type, write_key=_text(keyed.writeKey)
    )


def read_batch(body: bytes) -> Envelope:
    """The body of a batch. Raises BadBody."""
    text, found = _tolerant(body, _decode_batch)
    if found.batch is msgspec.UNSET:
        raise BadBody("invalid_batch", 'the body needs "batch", an array of events')
    if not found.batch:
        raise BadBody("empty_batch", '"batch" holds no events')
    most = max(FEW_EVENTS, len(text) // SHORTEST_EVENT)
    if len(found.batch) > most:
        raise BadBody(
            "invalid_batch",
            f'"batch" has {len(found.batch)} items in {len(text)} bytes; so short, most of them '
            "cannot be events",
        )
    context = _shared(found.context, "context")
    integrations = _shared(found.integrations, "integrations")
    return Envelope(
        items=found.batch,
        path_type=None,
        write_key=_text(found.writeKey),
        context=context,
        integrations=integrations,
        sent_at=_value(found.sentAt, "sentAt"),
        shared_bytes=(len(bytes(found.context)) if context else 0)
        + (len(bytes(found.integrations)) if integrations else 0),
    )


def _tolerant(body: bytes, decode: Callable[[bytes], Any]) -> tuple[bytes, Any]:  # Any: a struct
    """Decode what clients send: a byte order mark and halves of surrogate pairs included.

    JavaScript cuts strings in the middle of a character; such a half becomes
    U+FFFD. Returns the text that was decoded, mended. Raises BadBody.
    """
    text = body.removeprefix(_BOM)
    try:
        return text, decode(text)
    except _NOT_JSON as error:
        mended = mend_surrogates(text)
        if mended == text:
            raise BadBody(*_describe(text, error, "the body")) from error
    try:
        return mended, decode(mended)
    except _NOT_JSON as error:
        raise BadBody(*_describe(mended, error, "the body")) from error


def mend_surrogates(text: bytes) -> bytes:
    r"""JSON text in which a `\ud83d` without its other half is `\ufffd`."""
    if rb"\u" not in text:
        return text
    return _SURROGATES.sub(lambda match: match[1] or rb"\ufffd", text)


def _describe(text: bytes, error: Exception, what: str) -> tuple[str, str]:
    """Code and words for what the decoder did not like."""
    if isinstance(error, RecursionError):
        return "too_deep", f"{what} is nested deeper than {MAX_DEPTH} levels"
    if isinstance(error, UnicodeDecodeError):
        return "invalid_json", f"{what} is not UTF-8: byte {error.object[error.start]:#04x}"
    if not text.strip():
        return "invalid_json", f"{what} is empty; send JSON"
    reason = str(error).removeprefix("JSON is malformed: ")
    if isinstance(error, msgspec.ValidationError):
        if "out of range" in reason:
            return "invalid_json", f"{what} holds a number that is out of range"
        if "$.batch" in reason:
            return "invalid_batch", '"batch" must be an array of events'
        return "not_an_object", f"{what} must be a JSON object"
    if b"NaN" in text or b"Infinity" in text:
        reason += "; NaN and Infinity are not JSON, send null"
    return "invalid_json", f"{what} is not JSON: {reason}"


def _value(raw: msgspec.Raw, name: str) -> object:
    if not bytes(raw):
        return None
    try:
        value: object = _decode(raw)
    except _NOT_JSON as error:
        raise BadBody(*_describe(bytes(raw), error, f'"{name}"')) from error
    return value


def _text(raw: msgspec.Raw) -> str | None:
    value = _value(raw, "writeKey")
    return value if isinstance(value, str) else None


def _shared(raw: msgspec.Raw, name: str) -> Fields | None:
    value = _value(raw, name)
    if value is None or value == []:
        return None
    if not isinstance(value, dict):
        raise BadBody("wrong_type", f'the batch\'s "{name}" must be an object')
    if _is_deeper(value, MAX_DEPTH - 1):
        raise BadBody("too_deep", f'the batch\'s "{name}" is nested deeper than {MAX_DEPTH} levels')
    return _decode_fields(raw) or None


class EventReader:
    """Validates the events of one envelope, as many at a time as the caller likes.

    `route(source, type, integrations)` is the router's; `received_at` is
    seconds since 1970; `max_event` and `max_request` are bytes.
    """

    def __init__(
        self,
        envelope: Envelope,
        *,
        source: str,
        route: Callable[[str, str, object], Route],
        received_at: float,
        max_event: int,
        max_request: int,
    ) -> None:
        self.events: list[NewEvent] = []
        self.rejected: list[Rejected] = []
        self._envelope = envelope
        self._source = source
        self._route = route
        self._receipt = Receipt(received_at, envelope.sent_at)
        self._max_event = max_event
        self._room = MAX_GROWTH * max_request

    def read(self, start: int, stop: int) -> None:
        """Validate the items from `start` to `stop`: into `events`, or into `rejected`."""
        items = self._envelope.items
        for index in range(start, min(stop, len(items))):
            try:
                self.events.append(self._event(items[index]))
            except _Invalid as error:
                self.rejected.append(Rejected(index, error.code, str(error)))

    def _event(self, item: msgspec.Raw) -> NewEvent:
        event = self._decoded(item)
        given = event.copy()
        envelope = self._envelope
        event_type = event.get("type")
        if envelope.path_type is not None:
            if event_type is None:
                event["type"] = event_type = envelope.path_type
            elif event_type != envelope.path_type:
                raise _Invalid(
                    "wrong_type",
                    f"type is {_shown(event_type)}, but this is the path for {envelope.path_type}",
                )
        elif type(event_type) is not str or event_type not in _TYPES:
            raise _Invalid(
                "unknown_type",
                "type is required"
                if event_type is None
                else f"type is {_shown(event_type)}; it must be one of {_TYPES_TEXT}",
            )
        for name, value in event.items():
            if name in _TYPED and type(value) is not _TYPED[name] and value is not None:
                event[name] = _made_right(name, value)
        user_key = event.get("userId") or event.get("anonymousId")
        if not user_key:
            raise _Invalid("missing_user", "userId or anonymousId is required")
        if event_type == "track":
            self._require_name(event)
        elif event_type == "group":
            if not event.get("groupId"):
                raise _Invalid("missing_group", "groupId is required for group")
        elif event_type == "alias" and not (event.get("userId") and event.get("previousId")):
            raise _Invalid("missing_previous", "userId and previousId are required for alias")
        message_id = _message_id(event)
        if "writeKey" in event:
            del event["writeKey"]
        self._receipt.stamp(event)
        fields = _decode_fields(item)
        # What is as it was given is stored as it was written.
        stored = {
            name: fields[name] if name in given and value is given[name] else value
            for name, value in event.items()
        }
        if envelope.context is not None:
            stored["context"] = _merged(envelope.context, event.get("context"), fields, "context")
        integrations = event.get("integrations")
        if envelope.integrations is not None:
            merged = _merged(envelope.integrations, integrations, fields, "integrations")
            stored["integrations"] = merged
            integrations = _decode(_encode(merged))
        return NewEvent(
            message_id,
            event_type,
            user_key,
            _encode(stored),
            self._route(self._source, event_type, integrations),
        )

    def _decoded(self, item: msgspec.Raw) -> Json:
        raw = bytes(item)
        size = len(raw) + self._envelope.shared_bytes
        if size > self._max_event:
            merged = ", the batch's context included" if size > len(raw) else ""
            raise _Invalid(
                "too_large", f"the event has {size} bytes{merged}; at most {self._max_event}"
            )
        self._room -= size
        if self._room < 0:
            raise _Invalid(
                "too_large",
                "the batch's context, stored with every event, makes the batch too large; "
                "send fewer events at once",
            )
        try:
            event = _decode(raw)
        except _NOT_JSON as error:
            raise _Invalid(*_describe(raw, error, "the event")) from error
        if type(event) is not dict:
            raise _Invalid("not_an_object", "the event must be a JSON object")
        # Few events have so many brackets; only theirs are looked at.
        if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_deeper(event, MAX_DEPTH):
            raise _Invalid("too_deep", f"the event is nested deeper than {MAX_DEPTH} levels")
        return event

    @staticmethod
    def _require_name(event: Json) -> None:
        name = event.get("event")
        if not name:
            raise _Invalid("missing_event", "event (its name) is required for track")
        if type(name) is not str:
            raise _Invalid("wrong_type", f"event must be a string, not {_kind(name)}")


def _merged(shared: Fields, own: object, fields: Fields, name: str) -> Fields:
    """The batch's object with the event's own over it, which may be null or not there."""
    return shared | _decode_fields(fields[name]) if own else shared


def _message_id(event: Json) -> str:
    message_id: str | None = event.get("messageId")
    if not message_id:
        event["messageId"] = message_id = str(uuid.uuid4())
    elif len(message_id) > MAX_MESSAGE_ID:
        raise _Invalid(
            "message_id_too_long",
            f"messageId has {len(message_id)} characters; at most {MAX_MESSAGE_ID}",
        )
    return message_id


def _made_right(name: str, value: object) -> object:
    """What a field of another type was meant to be; raises _Invalid where that is anyone's guess.

    Databases have numeric ids, and their owners post them as such; PHP writes
    an empty object as `[]`.
    """
    if _TYPED[name] is dict:
        if value == []:
            return {}
        raise _Invalid("wrong_type", f"{name} must be an object, not {_kind(value)}")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _Invalid("wrong_type", f"{name} must be a string, not {_kind(value)}")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def _shown(value: object) -> str:
    return f'"{value[:40]}"' if isinstance(value, str) else _kind(value)


def _is_deeper(value: object, levels: int) -> bool:
    """Whether objects and arrays nest more than `levels` deep; without recursion."""
    layer = [value] if isinstance(value, dict | list) else []
    while layer:
        if levels == 0:
            return True
        levels -= 1
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return False
