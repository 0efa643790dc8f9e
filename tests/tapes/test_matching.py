"""Which answer a request gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.tapes.matching import differences, find, fitted, likeness
from supervisor.tapes.tape import Answer, Call, Exchange

URL = "https://api.example.com/v1/in?b=2&a=1"
HEADERS = (("Content-Type", "application/json"), ("Authorization", "Bearer one"))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below),
    max_leaves=10,
)


def call(said: Any = None, **changed: Any) -> Call:  # Any: JSON, and a call's fields
    encoded = json.dumps(said).encode() if said is not None else b""
    return Call(**{"method": "POST", "url": URL, "headers": HEADERS, "body": encoded, **changed})


def exchange(name: str, body: Any = None, said: Any = None, **changed: Any) -> Exchange:
    return Exchange(call(body, **changed), Answer(200, name, (), json.dumps(said).encode()))


def test_same_meaning() -> None:
    """Spelling does not count: order of keys, blanks, order of query, headers of the way."""
    recorded = call(headers=HEADERS, body=b'{"a": 1, "b": [2]}')
    given = call(
        url="https://api.example.com/v1/in?a=1&b=2",
        headers=(*HEADERS, ("User-Agent", "x"), ("Content-Length", "3")),
        body=b'{"b":[2],"a":1}',
    )
    assert differences(given, recorded) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"method": "PUT"}, "method: PUT, on the tape POST"),
        ({"url": "http://api.example.com/v1/in?a=1&b=2"}, "server: "),
        (
            {"url": "https://api.example.com/v1/out?a=1&b=2"},
            "path: '/v1/out', on the tape '/v1/in'",
        ),
        ({"url": "https://api.example.com/v1/in?a=1&b=3"}, "query[1].b: '3', on the tape '2'"),
        ({"headers": HEADERS[:1]}, "header Authorization: missing"),
        ({"body": b'{"a":{"b":2}}'}, "body.a.b: 2, on the tape 1"),
        ({"body": b'{"a":{"b":true}}'}, "body.a.b: True, on the tape 1"),
        ({"body": b'{"a":{}}'}, "body.a.b: missing"),
        ({"body": b'{"a":{"b":1},"c":0}'}, "body.c: 0, not on the tape"),
        ({"body": b"text"}, "body: 'text', on the tape {'a': {'b': 1}}"),
    ],
)
def test_difference_is_told(changed: dict[str, Any], told: str) -> None:
    """Each way to be another request is told by its place."""
    (said,) = differences(call({"a": {"b": 1}}, **changed), call({"a": {"b": 1}}))
    assert said.startswith(told)


def test_scrubbed_is_anything() -> None:
    """What was scrubbed without a trace matches any value, and not a missing one."""
    recorded = call({"a": "(scrubbed)", "b": "x-(scrubbed)-y"})
    assert differences(call({"a": [1], "b": "x-9-y"}), recorded) == []
    assert differences(call({"b": "x-9-y"}), recorded) == ["body.a: missing"]
    assert len(differences(call({"a": 1, "b": "x-9-z"}), recorded)) == 1


def test_forms_are_compared_as_pairs() -> None:
    """A form is the same whatever the order of its fields."""
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    one = call(headers=form, body=b"a=1&b=%20")
    assert differences(call(headers=form, body=b"b=+&a=1"), one) == []
    assert len(differences(call(headers=form, body=b"b=+&a=2"), one)) == 1


@given(JSON_VALUES, JSON_VALUES)
def test_likeness_is_a_share(one: Any, other: Any) -> None:
    """Equal values are wholly alike; the order of the two does not count."""
    assert likeness(one, one) == 1
    assert 0 <= likeness(one, other) <= 1
    assert likeness(one, other) == likeness(other, one)


@given(JSON_VALUES)
def test_a_call_is_itself(body: Any) -> None:
    """Every request is the recorded one if it is equal to it."""
    assert differences(call(body), call(body)) == []


def test_the_most_similar_answers() -> None:
    """New ids are answered as the recorded request of the same form was."""
    track = exchange("track", {"event": "x", "id": "1", "kind": "track"})
    alias = exchange("alias", {"from": "1", "to": "2", "kind": "alias"})
    found = find(call({"from": "8", "to": "9", "kind": "alias"}), [track, alias])
    assert found is alias
    assert find(call({"event": "y", "id": "9"}), [track, alias]) is track


def test_hosts_and_ids_in_paths() -> None:
    """A partner's other host answers alike, and so does a path with another id."""
    one = exchange("one", url="https://a.example.com/contacts/17")
    assert find(call(url="https://b.example.com/contacts/17"), [one]) is one
    assert find(call(url="https://a.example.com/contacts/18"), [one]) is one
    assert find(call(url="https://b.example.com/contacts/18"), [one]) is None
    assert find(call(url="https://a.example.com/contacts"), [one]) is None
    assert find(call(url="https://a.example.com/companies/17"), [one]) is None
    assert find(call(url="https://a.example.com/contacts/17", method="PUT"), [one]) is None


def test_as_many_records_as_sent() -> None:
    """The answer has as many records as the request, the recorded ones over and over."""
    recorded = exchange("x", {"input": [{"id": 1}]}, {"ok": True, "result": [{"status": "done"}]})
    sent = call({"input": [{"id": 7}, {"id": 8}, {"id": 9}]})
    assert json.loads(fitted(sent, recorded).body) == {
        "ok": True,
        "result": [{"status": "done"}] * 3,
    }
    assert fitted(call({"input": [{"id": 7}]}), recorded) is recorded.answer


def test_an_answer_that_is_a_list() -> None:
    """The same where the whole answer is a list."""
    recorded = exchange("x", {"records": [1, 2]}, ["a", "b"])
    assert json.loads(fitted(call({"records": [1, 2, 3]}), recorded).body) == ["a", "b", "a"]


@given(JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_fitting_never_fails(sent: Any, asked: Any, said: Any) -> None:
    """Whatever was recorded and is sent, there is an answer."""
    assert fitted(call(sent), exchange("x", asked, said)).status == 200


def test_an_escaped_slash_is_no_step() -> None:
    """A step with an escaped slash is not two, and other escapes mean what they stand for."""
    recorded = exchange("x", {"a": 1}, url="https://a.example.com/a%2Fb/c%40d").call
    assert not differences(recorded, recorded)
    same = exchange("x", {"a": 1}, url="https://a.example.com/a%2fb/c@d").call
    assert not differences(same, recorded)
    other = exchange("x", {"a": 1}, url="https://a.example.com/a/b/c@d").call
    assert differences(other, recorded)
