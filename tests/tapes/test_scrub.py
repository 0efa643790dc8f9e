"""Secrets and personal data never reach a tape, and a tape still plays without them."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.tapes.matching import differences
from supervisor.tapes.scrub import scrubbed
from supervisor.tapes.tape import About, Answer, Call, Exchange, Tape, dumps

JSON = (("Content-Type", "application/json"),)
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
#: Nothing that the form of a tape or a stand-in has by itself.
WORDS = st.from_regex(r"[jqxz]{4,8}[3-9]{2}[jqxz]{0,3}", fullmatch=True)


def tape(
    *exchanges: Exchange,
    events: list[dict[str, Any]] | None = None,  # Any: JSON
    settings: dict[str, Any] | None = None,
    outcomes: tuple[str, ...] = (),
) -> Tape:
    about = About(
        destination="pager",
        provenance="real",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        settings=settings or {},
        events=events or [],
        outcomes=list(outcomes),
    )
    return Tape(about, exchanges)


def posted(body: Any, said: Any = None, url: str = "https://a.example.com/in") -> Exchange:
    answer = Answer(200, "OK", JSON, json.dumps(said).encode())
    return Exchange(Call("POST", url, JSON, json.dumps(body).encode()), answer)


def test_person() -> None:
    """A person is another one, the same everywhere: in events, bodies, paths, queries, hashes."""
    email, phone = "Ann.Oezil@Firma.de", "+49 30 123456"
    hashed = hashlib.sha256(email.lower().encode()).hexdigest()
    digits = hashlib.sha256(b"+4930123456").hexdigest()
    event = {
        "type": "identify",
        "userId": "kd-48151623",
        "messageId": "6b1f6b3e-4c0b-4a8e-9d8e-0f4d7c1c2b3a",
        "context": {"ip": "84.17.46.2", "device": {"id": "AEBE52E7-03EE-455A"}},
        "traits": {"email": email, "phone": phone, "name": "Ann Özil", "street": "Torstr. 49"},
        "properties": {"total": 12.5, "contact": "bob@firma.de", "currency": "EUR"},
    }
    body = {
        "email": email.lower(),
        "hashes": [hashed, digits],
        "first": "Ann",
        "where": "Torstr. 49",
        "note": f"kd-48151623 wrote {email}",
        "total": 12.5,
    }
    url = f"https://a.example.com/users/kd-48151623?mail={quote(email.lower())}&ip=84.17.46.2"
    result = scrubbed(tape(posted(body, {"email": email, "ok": 1}, url), events=[event]), {})
    text = dumps(result)
    for gone in ("Ann", "Özil", "irma", "4815", "84.17", "AEBE", "Torstr", hashed, digits, "6b1f"):
        assert gone not in text
    (exchange,), (scrubbed_event,) = result.exchanges, result.about.events
    sent = json.loads(exchange.call.body)
    traits = scrubbed_event["traits"]
    assert sent["email"] == traits["email"] == "person1@example.com"
    assert sent["hashes"] == [
        hashlib.sha256(value.encode()).hexdigest() for value in (traits["email"], traits["phone"])
    ]
    assert sent["first"] == traits["name"].split()[0]
    assert sent["note"] == f"{scrubbed_event['userId']} wrote {traits['email']}"
    assert exchange.call.url.startswith(f"https://a.example.com/users/{scrubbed_event['userId']}?")
    assert (sent["total"], scrubbed_event["properties"]["currency"]) == (12.5, "EUR")
    assert json.loads(exchange.answer.body) == {"email": traits["email"], "ok": 1}


def test_secrets() -> None:
    """A secret setting is gone in every form that it travels in."""
    secret = "s3cr&t/geheim"
    basic = base64.b64encode(f"{secret}:".encode()).decode()
    headers = (
        *FORM,
        ("Authorization", f"Basic {basic}"),
        ("X-Signature", hashlib.sha1(secret.encode()).hexdigest()),  # noqa: S324 - as APIs do
        ("Cookie", secret),
    )
    call = Call(
        "POST",
        f"https://a.example.com/in/{quote(secret, safe='')}?key={quote(secret)}",
        headers,
        f"a=1&client={quote(secret, safe='')}".encode(),
    )
    answer = Answer(
        401, "No", (("Set-Cookie", "x=y"), ("Server", "nginx")), b"not " + secret.encode()
    )
    result = scrubbed(
        tape(Exchange(call, answer), settings={"client": secret}, outcomes=(f"failed: {secret}",)),
        {"client": secret},
    )
    text = dumps(result)
    for gone in (secret, quote(secret), quote(secret, safe=""), basic, "Cookie", "nginx"):
        assert gone not in text
    (exchange,) = result.exchanges
    assert exchange.call.header("Authorization") == "Basic (scrubbed)"
    assert result.about.settings == {"client": "client-1"}
    assert result.about.outcomes == ["failed: client-1"]


def test_tokens_of_answers() -> None:
    """A token that an answer brings is another one, there and in what is sent with it."""
    login = posted({"grant_type": "x"}, {"access_token": "00Dxx!AQ0AQ", "token_type": "Bearer"})
    used = posted({"auth": "00Dxx!AQ0AQ"}, {"ok": True})
    first, second = scrubbed(tape(login, used), {}).exchanges
    said = json.loads(first.answer.body)
    assert said == {"access_token": "access-token-1", "token_type": "Bearer"}
    assert json.loads(second.call.body) == {"auth": "access-token-1"}


def test_a_secret_address() -> None:
    """A secret URL becomes another one that can be sent to."""
    url = "https://hooks.firma.de/T024BE7LD/xyz"
    result = scrubbed(tape(posted({}, url=url), settings={"url": url}), {"url": url})
    assert "firma" not in dumps(result)
    assert result.exchanges[0].call.url == result.about.settings["url"]


def test_ids_of_answers() -> None:
    """Records' ids in answers are others, and the same where they are sent again."""
    made = posted({}, {"id": "65f2a1b3c4d5e6f7a8b9c0d1", "count": "12"})
    used = posted({}, url="https://a.example.com/contacts/65f2a1b3c4d5e6f7a8b9c0d1")
    first, second = scrubbed(tape(made, used), {}).exchanges
    said = json.loads(first.answer.body)
    assert said["count"] == "12"
    assert second.call.url == f"https://a.example.com/contacts/{said['id']}"


def test_unknown_hashes() -> None:
    """A hash of nobody knows what is taken out, and matches anything."""
    exchange = posted({"who": hashlib.sha256(b"?").hexdigest()})
    (result,) = scrubbed(tape(exchange), {}).exchanges
    assert json.loads(result.call.body) == {"who": "(scrubbed)"}
    assert differences(exchange.call, result.call) == []


def test_numbers() -> None:
    """A numeric id is another number; amounts stay."""
    event = {"type": "track", "userId": 815162342, "properties": {"total": 815}}
    result = scrubbed(tape(posted({"id": 815162342, "n": 815}), events=[event]), {})
    sent = json.loads(result.exchanges[0].call.body)
    assert sent == {"id": int(result.about.events[0]["userId"]), "n": 815}
    assert sent["id"] != 815162342


def test_binary() -> None:
    """What cannot be read cannot be scrubbed, and is left out."""
    exchange = Exchange(Call("POST", "https://a.example.com/", (), b"\xff\x00"), Answer(200))
    assert scrubbed(tape(exchange), {}).exchanges[0].call.body == b"(scrubbed)"


@given(WORDS, WORDS, WORDS)
def test_nothing_is_left(secret: str, user: str, trait: str) -> None:
    """Whatever the values are, none of them is on the tape."""
    event = {"type": "identify", "userId": user, "traits": {"x": trait}}
    exchange = posted({"a": [user, f"<{trait}>"], secret: 1}, {"b": secret})
    text = dumps(scrubbed(tape(exchange, events=[event], settings={"s": secret}), {"s": secret}))
    for value in (secret, user, trait):
        assert value not in text


@pytest.mark.parametrize("again", range(2))
def test_stable(again: int) -> None:
    """The same traffic gives the same tape, so that a review shows only what changed."""
    event = {"type": "identify", "userId": "u-123456", "traits": {"email": "a@b.de"}}
    exchange = posted({"e": "a@b.de", "f": "c@d.de"}, {"id": "abcdefgh"})
    first, second = (dumps(scrubbed(tape(exchange, events=[event]), {})) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "target", ["/a%2Fb%2f%7e/c%40d?sig=x%2By%40z&d=a+b%20c&&e", "/?", "", "/a?b=%2F?c"]
)
def test_urls_are_kept_byte_for_byte(target: str) -> None:
    """Where nothing of a URL is replaced, its escapes stay what they were."""
    url = f"https://a.example.com{target}"
    assert scrubbed(tape(posted({}, url=url)), {}).exchanges[0].call.url == url
