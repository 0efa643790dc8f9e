"""What of an event, a request or an answer is seen, and by whom."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.insight.json_text import MAX_BYTES
from supervisor.insight.masking import (
    Masking,
    Sight,
    public_name,
    shape_of,
    shape_of_key,
)

MASKING = Masking("masked", ["traits.plan", "properties.*.code", "context.campaign"], b"k" * 16)


def masked(event: Any) -> str:  # Any: JSON
    text = MASKING.event(json.dumps(event), Sight.MASKED)
    assert text is not None
    return text


# --- what is masked ---


@pytest.mark.parametrize(
    "key",
    [
        "email", "E-Mail", "userEmail", "email_address", "phone", "Phone Number", "mobilePhone",
        "firstName", "last_name", "NAME", "fullname", "address", "streetAddress", "postal_code",
        "city", "ip", "IP", "ip_address", "password", "passwd", "accessToken", "refresh_token",
        "apiKey", "api-key", "client_secret", "Authorization", "cookie", "birthday",
        "date_of_birth", "ssn", "iban", "cardNumber", "latitude", "X-Signature", "sessionId",
    ],
)  # fmt: skip
def test_the_built_in_names_are_masked_in_any_case_style_nested_and_in_arrays(key: str) -> None:
    event = {"properties": {"list": [{key: "Value-of-it 7"}], key: {"deep": ["Value-of-it 7"]}}}
    assert "Value" not in masked(event)


@pytest.mark.parametrize("key", ["author", "event", "plan", "signedUpAt", "sku", "total", "type"])
def test_other_names_stay(key: str) -> None:
    assert json.loads(masked({"properties": {key: "Value"}}))["properties"][key] == "Value"


def test_paths_of_the_config_count_from_the_root_in_any_case_style() -> None:
    event = {
        "traits": {"PLAN": "gold-1", "other": "kept"},
        "properties": {"a": {"Code": "gold-2"}, "plan": "kept"},
        "context": {"campaign": {"source": "gold-3", "n": [1234567]}},
    }
    text = masked(event)
    assert "gold" not in text
    assert "1234567" not in text
    assert text.count("kept") == 2


def test_a_masked_value_is_replaced_wherever_else_it_stands() -> None:
    mail, phone = "ann.lee+shop@example.com", "+44 20 7946 0018"
    event = {
        "userId": mail,
        "traits": {"email": mail, "phone": phone, "password": "Secret-1"},
        "properties": {
            "url": f"https://shop.example/?m={quote(mail)}&p={quote(phone)}",
            "note": f"call {phone} for {mail.upper()}",
            "inner": json.dumps({"password": "other-2", "said": "secret-1 and Secret-1"}),
            mail: 1,
        },
    }
    text = masked(event).lower()
    for value in ("ann.lee", "7946", "secret-1", "other-2", "example.com"):
        assert value not in text
    assert "call <masked> for" in text


def test_numbers_stay_as_they_were_written() -> None:
    text = '{"a":1.10,"b":9007199254740993,"c":-0.0,"d":1E400,"e":[0.1e-7],"f":{"a":1,"a":2}}'
    assert MASKING.event(text, Sight.MASKED) == text
    assert MASKING.event(text, Sight.FULL) == text


def test_what_is_no_json_is_told_by_its_length_and_a_hash_that_nobody_can_try() -> None:
    one = MASKING.event(b"\xff not json", Sight.FULL)
    assert one == MASKING.event(b"\xff not json", Sight.MASKED)
    assert one is not None
    assert one.startswith('"<no JSON, 10 bytes, hash ')
    assert one != Masking("masked", [], b"other key").event(b"\xff not json", Sight.MASKED)
    assert shape_of("not json") == '"<no JSON, 8 bytes>"'


@pytest.mark.parametrize(
    "body",
    [
        "[" * 60_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '"' + "a" * MAX_BYTES + '"',
        "[" + ",".join(['"a@b.cc"'] * 7_000) + "]",
        json.dumps({"email": [f"person-{n}@x.example" for n in range(2_000)]}),
        json.dumps({"email": "a" * 60_000, "b": "a" * 1_000}),
        json.dumps({"x": "@" * 60_000}),
        json.dumps({"x": "a" * 60_000 + "@"}),
        json.dumps({"x": "1" * 60_000}),
        json.dumps({"name": [f"name {n}" for n in range(64)], "x": ["name 1 "] * 5_000}),
        json.dumps({"k" * 60_000: 1}),
        "NaN",
        "1" * 60_000,
    ],
)
def test_hostile_bodies_cost_little_and_stay_json(body: str) -> None:
    began = time.process_time()
    for sight in (Sight.MASKED, Sight.SHAPES):
        text = MASKING.event(body, sight)
        assert text is not None
        assert len(text) < 4 * MAX_BYTES
        json.loads(text, parse_int=str)
    assert time.process_time() - began < 2.0


def test_an_event_with_too_many_masked_values_shows_no_text_at_all() -> None:
    event = {"users": [{"name": f"somebody {n}"} for n in range(100)], "note": "somebody 99, hello"}
    assert "somebody" not in masked(event)


# --- requests and answers ---


def test_of_a_request_names_and_the_events_own_values_are_masked() -> None:
    own = MASKING.own_values(json.dumps({"traits": {"email": "ann@x.example", "plan": "gold-1"}}))
    url = MASKING.url("https://p.example/u/ann@x.example?token=t1&q=gold-1&n=5", Sight.MASKED, own)
    assert url == "https://p.example/u/<masked>?token=<text of 2>&q=<text of 6>&n=5"
    headers = {"Authorization": "Bearer abc", "Accept": "*/*", "X-User": "gold-1"}
    assert MASKING.headers(headers, Sight.MASKED, own) == {
        "Authorization": "<text of 10>", "Accept": "*/*", "X-User": "<text of 6>"
    }  # fmt: skip
    body = MASKING.message('{"who":{"Plan":"x"},"mail":"ann@x.example"}', Sight.MASKED, own)
    assert body == '{"who":{"Plan":"<text of 1>"},"mail":"…@…"}'
    form = MASKING.message("email=a%40b.c&client_secret=s1&kind=lead", Sight.MASKED)
    assert form == '"email=…@…&client_secret=<text of 2>&kind=lead"'
    assert MASKING.text("400: gold-1 of ann@x.example is bad", Sight.MASKED, own) == (
        "400: <masked> of <masked> is bad"
    )


def test_what_is_named_like_a_secret_is_left_out_of_requests_even_in_full() -> None:
    full = Masking("full", [], b"")
    body = '{"email":"a@b.cc","access_token":"Zq7xKw9v","note":"Zq7xKw9v of a@b.cc","n":1.10}'
    assert full.message(body, Sight.FULL) == (
        '{"email":"a@b.cc","access_token":"<text of 8>","note":"<masked> of a@b.cc","n":1.10}'
    )
    assert full.message("a=1&api_key=x", Sight.FULL) == '"a=1&api_key=<text of 1>"'
    assert full.url("https://a.b/?token=1&email=x", Sight.FULL) == (
        "https://a.b/?token=<1 digits>&email=x"
    )
    assert full.headers({"Cookie": "a", "X-Email": "b"}, Sight.FULL) == {
        "Cookie": "<text of 1>", "X-Email": "b"
    }  # fmt: skip


def test_a_viewer_sees_no_request_no_header_and_no_words() -> None:
    assert MASKING.text("some words", Sight.SHAPES) is None
    assert MASKING.url("https://p.example/", Sight.SHAPES) is None
    assert MASKING.headers({"Accept": "*/*"}, Sight.SHAPES) == {}


def test_payloads_say_what_an_operator_sees_and_a_viewer_never_sees_more_than_shapes() -> None:
    for payloads, operators in (("masked", Sight.MASKED), ("full", Sight.FULL)):
        masking = Masking(payloads, [], b"")
        assert masking.sight(is_operator=True) is operators
        assert masking.sight(is_operator=False) is Sight.SHAPES
    nothing = Masking("none", [], b"")
    assert nothing.sight(is_operator=True) is nothing.sight(is_operator=False) is Sight.NOTHING
    assert nothing.event("{}", Sight.NOTHING) is None


# --- shapes ---


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("ann@shop.com", "…@….com"),
        ("ann@shop.annsplace", "…@…"),
        ("507f1f77bcf86cd799439011", "<24 hex>"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "<UUID>"),
        ("2026-11-30T12:00:00.000Z", "<time>"),
        ("2026-11-30", "<date>"),
        ("192.0.2.7", "<IP>"),
        ("2001:db8::1", "<IP>"),
        ("https://x.example/p?q=1", "<https URL of 23>"),
        ("+44 20 7946 0018", "<phone>"),
        ("123456", "<6 digits>"),
        ("Hello there", "<text of 11>"),
        ("", ""),
        (27.5, "<number>"),
        (27, "<integer>"),
        (True, "<boolean>"),
        (None, None),
    ],
)
def test_shapes(value: object, shape: str | None) -> None:
    assert json.loads(shape_of(json.dumps(value))) == shape


def test_keys_and_names_that_are_values_become_shapes() -> None:
    assert json.loads(shape_of('{"userId":"u","ann@x.com":{"507f1f77bcf86cd799439011":[1]}}')) == {
        "userId": "<text of 1>", "…@….com": {"<24 hex>": ["<integer>"]}
    }  # fmt: skip
    assert shape_of_key("first name_2") == "first name_2"
    assert public_name("Order Completed") == "Order Completed"
    assert public_name("Ann Lee's Party") == "<name of 15>"


# --- properties ---

MARKER = "Zq7xKw9v"
values = st.one_of(
    st.just(MARKER),
    st.builds("{}{}{}".format, st.text(max_size=5), st.just(MARKER), st.text(max_size=5)),
    st.just(f"{MARKER}@{MARKER}.{MARKER}"),
    st.just(f"https://{MARKER}/?{MARKER}={MARKER}#{MARKER}"),
    st.just(json.dumps({"email": MARKER, "x": [MARKER]})),
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
keys = st.one_of(st.sampled_from(["traits", "properties", "x", "n", "code", "a.b"]), st.text())


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:  # Any: JSON
    return st.recursive(
        leaves,
        lambda below: st.one_of(
            st.lists(below, max_size=4), st.dictionaries(keys, below, max_size=4)
        ),
        max_leaves=15,
    )


@settings(max_examples=50)
@given(nested(st.one_of(values, plain)))
def test_no_byte_of_a_marker_in_any_field_reaches_a_viewer(event: Any) -> None:  # Any: JSON
    """Neither where JSON is escaped as ASCII, nor where it is not."""
    for text in (json.dumps(event), json.dumps(event, ensure_ascii=False)):
        shown = shape_of(text)
        shown.encode()
        assert MARKER.lower() not in shown.lower()
        json.loads(shown)


@given(
    rest=nested(plain),
    leaf=nested(values),
    place=st.sampled_from(["email", "plan", "code", "campaign"]),
    elsewhere=st.lists(values, max_size=3),
    own=st.text(min_size=4, max_size=8),
)
def test_no_value_of_a_masked_path_is_in_the_output(
    rest: Any,  # Any: JSON
    leaf: Any,
    place: str,
    elsewhere: list[str],
    own: str,
) -> None:
    """Not at its place, whatever is nested there, and as a whole value nowhere else."""
    event: dict[str, Any] = {"rest": rest, "elsewhere": [MARKER], "traits": {}, "properties": {}}
    tree = [leaf, MARKER]
    match place:
        case "email":
            event["properties"]["deep"] = [{"Email": tree}]
        case "plan":
            event["traits"] = {"plan": tree}
        case "code":
            event["properties"] = {own: {"code": tree}}
        case _:
            event["context"] = {"campaign": tree}
    event["elsewhere"] += elsewhere
    event["elsewhere"].append(f"x{MARKER.upper()}y")
    shown = masked(event)
    assert MARKER.lower() not in shown.lower()
    json.loads(shown)


@given(nested(st.one_of(plain, st.decimals(allow_nan=False, allow_infinity=False).map(str))))
def test_what_is_shown_in_full_is_what_came(event: Any) -> None:  # Any: JSON
    text = json.dumps(event)
    assert MASKING.event(text, Sight.FULL) == text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b'{"writeKey":"k1\\"x","n":1.10}', '{"writeKey":"(secret)","n":1.10}'),
        (b'{"a":{"writeKey" : "k2"}}', '{"a":{"writeKey" : "(secret)"}}'),
        (b'{"writeKey":17}', '{"writeKey":17}'),
        (b'{"text":"writeKey: k3"}', '{"text":"writeKey: k3"}'),
    ],
)
def test_a_write_key_is_in_no_event_that_is_shown(written: bytes, shown: str) -> None:
    """Where senders put it, in full as well; all else is as it was written."""
    assert Masking("full", [], b"").event(written, Sight.FULL) == shown
