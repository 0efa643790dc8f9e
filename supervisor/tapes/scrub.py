"""Secrets and personal data out of recorded traffic, before it touches a disk. Pure.

Owns what counts as either: settings that came from `{ env }` or `{ file }` or
are named like a secret, what requests and answers call a token, credentials in
headers; of an event its ids, traits, address and device, and what looks like an
e-mail address, a phone number or an IP address anywhere. Everything is replaced
by stand-ins of its form, in the events as well, so that the tape still plays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlencode, urlsplit

import msgspec

from supervisor.tapes.matching import TRANSPORT_HEADERS
from supervisor.tapes.pseudonyms import Kind, Pseudonyms
from supervisor.tapes.tape import ANYTHING, About, Answer, Call, Exchange, Headers, Tape

#: The end of a name, without case and separators, that a secret goes by.
_SECRET_NAME = re.compile(
    r"(?:token|secret|password|passwd|apikey|accesskey|privatekey|signature|credentials?|cookie"
    r"|authorization|assertion|jwt|sessionid|writekey)$"
)
_EMAIL_NAME = re.compile(r"e?mail(?:address)?$")
_PHONE_NAME = re.compile(r"(?:phone|mobile|fax|tel)(?:number)?$")
_PERSON_NAME = re.compile(r"^(?:first|last|full|middle|user|display|nick|given|family|sur)?name$")
_ID_NAME = re.compile(r"(?:id|guid|uuid)$")
#: Parts of an event that are about the person, all of them; the rest only by name and form.
_PERSONAL_PARTS = ("traits", "user", "device")
#: Ids of an event.
_EVENT_IDS = ("userId", "anonymousId", "previousId", "groupId", "messageId", "sessionId")
#: Request and answer headers whose values say nothing of anybody.
_PLAIN_HEADERS = frozenset({"accept", "content-type", "retry-after", "x-http-method-override"})
_PLAIN_ANSWER_HEADERS = re.compile(r"(?:x-)?rate-?limit[a-z-]*", re.IGNORECASE)
#: Shortest id in an answer that is replaced: "42" may be a count.
_MIN_ID = 8


class Leak(Exception):
    """Something that was to be scrubbed is still there; the tape must not be written."""


def scrubbed(tape: Tape, secret_settings: Mapping[str, str]) -> Tape:
    """The tape with stand-ins; `secret_settings` are the values that were references, by name.

    Raises Leak where one is left, which is a bug here and not in the tape.
    """
    names = Pseudonyms()
    _learn_settings(names, tape.about.settings, secret_settings)
    for event in tape.about.events:
        _learn_event(names, event)
    for exchange in tape.exchanges:
        _learn_tokens(names, exchange)
    for exchange in tape.exchanges:
        _learn_answer(names, exchange.answer)
    result = Tape(
        _about(names, tape.about),
        tuple(
            Exchange(_call(names, exchange.call), _answer(names, exchange.answer))
            for exchange in tape.exchanges
        ),
    )
    if left := names.left_in("\n".join(_texts(result))):
        raise Leak(f"{', '.join(left)} would still be on the tape")
    return result


class Mask:
    """Secrets alone out of what is shown: settings, and the tokens of these exchanges."""

    def __init__(
        self,
        settings: Mapping[str, Any],  # Any: the destination's schema decides
        secret_settings: Mapping[str, str],
        exchanges: Sequence[Exchange],
    ) -> None:
        self._names = Pseudonyms(finds_people=False)
        _learn_settings(self._names, settings, secret_settings)
        for exchange in exchanges:
            _learn_tokens(self._names, exchange)

    def text(self, text: str) -> str:
        """A text without them."""
        return self._names.replace(text)

    def call(self, call: Call) -> Call:
        """A request without them."""
        headers = tuple((name, self._header(name, value)) for name, value in call.headers)
        return msgspec.structs.replace(_call(self._names, call), headers=headers)

    def answer(self, answer: Answer) -> Answer:
        """An answer without them."""
        return _answer(self._names, answer)

    def _header(self, name: str, value: str) -> str:
        if _SECRET_NAME.search(_normal(name)):
            return _header(self._names, name, value)
        return self._names.replace(value)


# --- what is to be replaced ---


def _learn_settings(
    names: Pseudonyms,
    settings: Mapping[str, Any],  # Any: the destination's schema decides
    secret_settings: Mapping[str, str],
) -> None:
    for name, value in secret_settings.items():
        names.learn(value, Kind.SECRET, _label(name))
    for name, value in _leaves(settings):
        if isinstance(value, str) and _SECRET_NAME.search(_normal(name)):
            names.learn(value, Kind.SECRET, _label(name))


def _learn_event(names: Pseudonyms, event: Mapping[str, Any]) -> None:  # Any: JSON
    for key in _EVENT_IDS:
        if isinstance(event.get(key), (str, int)):
            names.learn(str(event[key]), Kind.ID, _label(key.removesuffix("Id")))
    context = event.get("context")
    for part in _PERSONAL_PARTS:
        for holder in (event, context):
            if isinstance(holder, Mapping) and isinstance(holder.get(part), Mapping):
                _learn_personal(names, holder[part], is_all=True)
    _learn_personal(names, event, is_all=False)


def _learn_personal(names: Pseudonyms, value: Any, *, is_all: bool) -> None:  # Any: JSON
    for name, leaf in _leaves(value):
        kind = _kind(name)
        if kind is None and is_all and isinstance(leaf, str):
            kind = Kind.TEXT
        # Numbers name somebody where they are ids or phone numbers, and else are amounts.
        is_named = isinstance(leaf, int) and not isinstance(leaf, bool) and kind is not None
        if kind is not None and (isinstance(leaf, str) or is_named):
            names.learn(str(leaf), kind)


def _learn_tokens(names: Pseudonyms, exchange: Exchange) -> None:
    pairs: list[tuple[str, Any]] = list(parse_qsl(urlsplit(exchange.call.url).query))
    pairs += _body_pairs(exchange.call.body)
    pairs += _body_pairs(exchange.answer.body)
    for name, value in pairs:
        if isinstance(value, str) and _SECRET_NAME.search(_normal(name)):
            names.learn(value, Kind.SECRET, _label(name))


def _learn_answer(names: Pseudonyms, answer: Answer) -> None:
    for name, value in _body_pairs(answer.body):
        kind = _kind(name)
        if kind is None or not isinstance(value, str):
            continue
        if kind is not Kind.ID or len(value) >= _MIN_ID:
            names.learn(value, kind)


def _kind(name: str) -> Kind | None:
    plain = _normal(name)
    for pattern, kind in (
        (_EMAIL_NAME, Kind.EMAIL),
        (_PHONE_NAME, Kind.PHONE),
        (_PERSON_NAME, Kind.NAME),
    ):
        if pattern.search(plain):
            return kind
    if plain == "ip" or plain.endswith("ipaddress"):
        return Kind.IP
    return Kind.ID if _ID_NAME.search(plain) else None


# --- replacing ---


def _about(names: Pseudonyms, about: About) -> About:
    return msgspec.structs.replace(
        about,
        settings=_value(names, about.settings),
        # The type of an event is no value, whatever somebody is called.
        events=[
            {key: item if key == "type" else _value(names, item) for key, item in event.items()}
            for event in about.events
        ],
        outcomes=[names.replace(outcome) for outcome in about.outcomes],
    )


def _call(names: Pseudonyms, call: Call) -> Call:
    headers: Headers = tuple(
        (name, _header(names, name, value))
        for name, value in call.headers
        if name.lower() not in TRANSPORT_HEADERS and name.lower() != "cookie"
    )
    is_form = (call.header("Content-Type") or "").startswith("application/x-www-form-urlencoded")
    return Call(
        call.method, _url(names, call.url), headers, _body(names, call.body, is_form=is_form)
    )


def _answer(names: Pseudonyms, answer: Answer) -> Answer:
    headers = tuple(
        (name, names.replace(value))
        for name, value in answer.headers
        if name.lower() in _PLAIN_HEADERS or _PLAIN_ANSWER_HEADERS.fullmatch(name)
    )
    return msgspec.structs.replace(
        answer,
        reason=names.replace(answer.reason),
        headers=headers,
        body=_body(names, answer.body, is_form=False),
    )


def _header(names: Pseudonyms, name: str, value: str) -> str:
    if name.lower() in _PLAIN_HEADERS:
        return value
    scheme, blank, _ = value.partition(" ")
    if name.lower() == "authorization" and blank:
        return f"{scheme} {ANYTHING}"
    return ANYTHING


def _url(names: Pseudonyms, url: str) -> str:
    replaced = names.replace(url)
    if replaced != url and replaced.startswith(("http://", "https://")):
        url = replaced  # the whole address was a secret, or part of it
    # Byte for byte as it was sent where nothing is replaced: escapes of a signed URL count.
    base, mark, query = url.partition("?")
    scheme, _, rest = base.partition("://")
    server, *steps = rest.split("/")
    path = [_replaced(names, step, unquote, _PATH_STEP) for step in steps]
    pairs = [
        f"{name}{equals}{_replaced(names, value, unquote_plus, quote_plus)}"
        for name, equals, value in (pair.partition("=") for pair in query.split("&"))
    ]
    return f"{scheme}://{'/'.join((server, *path))}{mark}{'&'.join(pairs)}"


#: How a step of a path is escaped that holds a stand-in.
_PATH_STEP = partial(quote, safe=":@!$&'()*+,;=~")


def _replaced(
    names: Pseudonyms, text: str, plain: Callable[[str], str], escaped: Callable[[str], str]
) -> str:
    given = plain(text)
    replaced = names.replace(given)
    return text if replaced == given else escaped(replaced)


def _body(names: Pseudonyms, body: bytes, *, is_form: bool) -> bytes:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return ANYTHING.encode()
    if is_form:
        pairs = parse_qsl(text, keep_blank_values=True)
        return urlencode([(name, names.replace(value)) for name, value in pairs]).encode()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return names.replace(text).encode()
    return json.dumps(_value(names, value), ensure_ascii=False).encode()


def _value(names: Pseudonyms, value: Any) -> Any:  # Any: JSON
    match value:
        case str():
            return names.replace(value)
        case bool():
            return value
        case int():
            return names.number(value)
        case list():
            return [_value(names, item) for item in value]
        case dict():
            return {
                names.replace_in_name(key): _value(names, below) for key, below in value.items()
            }
        case _:
            return value


def _texts(tape: Tape) -> Iterator[str]:
    """Everything on a tape that came from outside."""
    yield from (unquote(json.dumps(part, ensure_ascii=False)) for part in tape.about.events)
    yield json.dumps(tape.about.settings, ensure_ascii=False)
    yield from tape.about.outcomes
    for exchange in tape.exchanges:
        for part in (exchange.call, exchange.answer):
            yield from (value for _, value in part.headers)
            yield part.body.decode()
            yield unquote(part.body.decode())
        yield exchange.call.url
        yield unquote(exchange.call.url)


def _body_pairs(body: bytes) -> Sequence[tuple[str, Any]]:  # Any: JSON
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return []
    try:
        return list(_leaves(json.loads(text)))
    except (ValueError, RecursionError):
        return parse_qsl(text) if "=" in text else []


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # Any: JSON
    match value:
        case Mapping():
            for key, below in value.items():
                yield from _leaves(below, str(key))
        case list():
            for below in value:
                yield from _leaves(below, name)
        case _:
            yield name, value


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _label(name: str) -> str:
    """`client_secret` and `clientSecret` as `client-secret`."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name.rpartition(".")[2])
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "secret"
