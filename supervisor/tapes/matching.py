"""Which recorded answer a request gets. Pure.

Strictly, for tests: method, URL, body and the headers on the tape, JSON and
forms by meaning and not by spelling. Leniently, for a stand-in of a partner's
server: method and path, the most similar body first, so that events with new
ids are answered as the recorded ones were, and as many records as were sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from supervisor.tapes.tape import ANYTHING, Answer, Call, Exchange

#: Headers that say how a request travelled and not what it asks.
TRANSPORT_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "date",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)

#: Any below: decoded JSON, or pairs of a form, or text.
Meaning = Any


def differences(call: Call, recorded: Call) -> list[str]:
    """Where a request is not the recorded one; empty where it is."""
    found = []
    if call.method != recorded.method:
        found.append(f"method: {call.method}, on the tape {recorded.method}")
    ours, theirs = _url_parts(call.url), _url_parts(recorded.url)
    for key, value in ours.items():
        found += _body_differences(value, theirs[key], key)
    for name, wanted in recorded.headers:
        if name.lower() in TRANSPORT_HEADERS:
            continue
        given = call.header(name)
        if given is None:
            found.append(f"header {name}: missing")
        elif not _is_same(given, wanted):
            found.append(f"header {name}: {given}, on the tape {wanted}")
    found += _body_differences(meaning(call), meaning(recorded), "body")
    return found


def find(call: Call, exchanges: Sequence[Exchange]) -> Exchange | None:
    """The most similar exchange with the request's method and path; None where there is none.

    An exchange of the same host goes before others, and an equal path before one that differs
    in its ids: partners have a host a customer, and webhooks any.
    """
    best: Exchange | None = None
    best_score: tuple[float, ...] = ()
    asked = urlsplit(call.url)
    mine = meaning(call)
    for exchange in exchanges:
        recorded = exchange.call
        if recorded.method != call.method:
            continue
        there = urlsplit(recorded.url)
        path = _path_likeness(asked.path, there.path)
        if path == 0:
            continue
        score = (
            float(asked.hostname == there.hostname),
            path,
            likeness(mine, meaning(recorded)),
        )
        if score > best_score:  # of equal ones the first, as they stand on the tape
            best, best_score = exchange, score
    # A host that no tape knows is answered only where a tape has just that path.
    return best if best is not None and (best_score[0] or best_score[1] == 1) else None


def fitted(call: Call, exchange: Exchange) -> Answer:
    """The recorded answer with as many records as the request has.

    Where the recorded request and its answer have lists of equal length, as APIs
    that take several records at once do, the answer's is made as long as the
    request's is now.
    """
    recorded, said = _json(exchange.call.body), _json(exchange.answer.body)
    for path, items in _lists(recorded):
        now = _at(_json(call.body), path)
        if items and isinstance(now, list) and len(now) != len(items):
            stretched = _stretched(said, len(items), len(now))
            if stretched is not None:
                return msgspec.structs.replace(exchange.answer, body=stretched)
    return exchange.answer


def for_all(call: Call, sample: bytes) -> bytes:
    """A sample answer about one record, with as many as the request has."""
    for _, items in _lists(_json(call.body)):
        stretched = _stretched(_json(sample), 1, len(items))
        if stretched is not None:
            return stretched
    return sample


def meaning(call: Call) -> Meaning:
    """A body as what it says: JSON decoded, a form as sorted pairs, else text or bytes."""
    if not call.body:
        return None
    if (call.header("Content-Type") or "").startswith("application/x-www-form-urlencoded"):
        try:
            return sorted(parse_qsl(call.body.decode(), keep_blank_values=True))
        except ValueError:
            return call.body
    try:
        return json.loads(call.body)
    except (ValueError, RecursionError):
        pass
    try:
        return call.body.decode()
    except UnicodeDecodeError:
        return call.body


def likeness(one: Meaning, other: Meaning) -> float:
    """From 0 to 1: which part of both says the same at the same place."""
    mine, theirs = dict(_leaves(one)), dict(_leaves(other))
    if not mine and not theirs:
        return 1.0
    places = len(mine.keys() | theirs.keys())
    # A place that both have, with different values, is half the way: new ids, the same request.
    return sum(
        1.0 if mine[place] == theirs[place] else 0.5 for place in mine.keys() & theirs.keys()
    ) / max(places, 1)


def _url_parts(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "server": f"{parts.scheme}://{parts.netloc}",
        # Step by step: one that holds an escaped slash is one step.
        "path": "/".join(unquote(step).replace("/", "%2F") for step in parts.path.split("/"))
        or "/",
        "query": sorted(parse_qsl(parts.query, keep_blank_values=True)),
    }


def _path_likeness(one: str, other: str) -> float:
    """1 for equal paths, less for those that differ in segments that may be ids, else 0."""
    mine, theirs = (
        [unquote(step) for step in path.rstrip("/").split("/")] for path in (one, other)
    )
    if len(mine) != len(theirs):
        return 0.0
    different = [pair for pair in zip(mine, theirs, strict=True) if pair[0] != pair[1]]
    if not all(_may_be_id(a) and _may_be_id(b) for a, b in different):
        return 0.0
    return 1.0 - len(different) / (len(mine) + 1)


def _may_be_id(segment: str) -> bool:
    return any(c.isdigit() for c in segment) or "@" in segment or segment == ANYTHING


def _body_differences(given: Meaning, wanted: Meaning, at: str) -> list[str]:
    if _is_anything(wanted) and given is not None:
        return []
    if isinstance(given, dict) and isinstance(wanted, dict):
        found = [f"{at}.{key}: missing" for key in wanted if key not in given]
        found += [
            f"{at}.{key}: {_short(given[key])}, not on the tape"
            for key in given
            if key not in wanted
        ]
        for key in given.keys() & wanted.keys():
            found += _body_differences(given[key], wanted[key], f"{at}.{key}")
        return found
    if isinstance(given, list) and isinstance(wanted, list) and len(given) == len(wanted):
        return [
            text
            for index, (one, other) in enumerate(zip(given, wanted, strict=True))
            for text in _body_differences(one, other, f"{at}[{index}]")
        ]
    if isinstance(given, tuple) and isinstance(wanted, tuple):  # a form's pair
        return _body_differences(dict([given]), dict([wanted]), at)
    if isinstance(given, str) and isinstance(wanted, str) and _is_same(given, wanted):
        return []
    # `True == 1` is so in Python, and not in JSON.
    if type(given) is type(wanted) and given == wanted:
        return []
    if {type(given), type(wanted)} == {int, float} and given == wanted:
        return []
    return [f"{at}: {_short(given)}, on the tape {_short(wanted)}"]


def _is_same(given: str, wanted: str) -> bool:
    """Whether a text is the recorded one, `(scrubbed)` in it standing for anything."""
    if ANYTHING not in wanted:
        return given == wanted
    first, *others = wanted.split(ANYTHING)
    if not given.startswith(first):
        return False
    at = len(first)
    for index, part in enumerate(others):
        is_last = index == len(others) - 1
        found = len(given) - len(part) if is_last and given.endswith(part) else given.find(part, at)
        if found < at:
            return False
        at = found + len(part)
    return at == len(given)


def _is_anything(value: object) -> bool:
    return value == ANYTHING


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _json(body: bytes) -> Meaning:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _leaves(value: Meaning, at: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    match value:
        case None if not at:
            return
        case dict():
            for key, below in value.items():
                yield from _leaves(below, (*at, key))
        case list():
            for index, below in enumerate(value):
                yield from _leaves(below, (*at, index))
        case _:
            yield at, value


def _stretched(said: Meaning, size: int, wanted: int) -> bytes | None:
    """An answer whose list of `size` has become one of `wanted`; None where it has no such list."""
    for where, results in _lists(said):
        if len(results) == size:
            new = [results[index % size] for index in range(wanted)]
            return json.dumps(_with(said, where, new), ensure_ascii=False).encode()
    return None


def _lists(value: Meaning, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Lists that stand in objects only, from the outside in, with the keys that lead there."""
    if isinstance(value, list):
        yield at, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _lists(below, (*at, key))


def _at(value: Meaning, path: Sequence[str]) -> Meaning:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _with(value: Meaning, path: Sequence[str], new: Meaning) -> Meaning:
    if not path:
        return new
    return {**value, path[0]: _with(value[path[0]], path[1:], new)}
