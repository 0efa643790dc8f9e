"""No secret gets past, however it is wrapped, and what holds none stays as it is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.dryrun.hiding import hiding

SECRETS = ('Zx9"é/+qw&7 k=L', "sk_live_4711aBcDeF", "päss wörd/1+2", "YWxhZGRpbjpvcGVu")

HIDE = hiding(SECRETS)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def urlsafe(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def percent(text: str) -> str:
    return quote(text, safe="")


WRAPS: tuple[Callable[[str], str], ...] = (percent, quote, quote_plus, in_json, b64, urlsafe)


def says(text: str, secret: str) -> bool:
    """Whether a secret can be read in a text, behind three escapes at most."""
    seen = {text}
    for _ in range(4):
        if any(secret in each for each in seen):
            return True
        more = set()
        for each in seen:
            more.add(unquote(each))
            if "\\" in each:
                more.add(each.encode("latin-1", "replace").decode("unicode_escape", "replace"))
        seen |= more
    return False


@given(
    st.sampled_from(SECRETS),
    st.lists(st.sampled_from(WRAPS), max_size=3),
    st.sampled_from(("{}", "a/{}?q=1", '{{"x": "{}"}}', "k={}&v=2", "see <{}>.", "Basic {}")),
)
def test_a_secret_is_hidden_wherever_and_however_it_stands(
    secret: str, wraps: list[Callable[[str], str]], around: str
) -> None:
    """Up to three escapes within each other, in the places of requests and answers."""
    wrapped = secret
    for wrap in wraps:
        wrapped = wrap(wrapped)
    told = HIDE(around.format(wrapped))
    assert wrapped not in told
    assert not says(told, secret)


@pytest.mark.parametrize(
    "text",
    [
        "https://api.example.com/v1/track?name=caf%C3%A9&x=%2Fhome",
        '{"event": "Ordered", "note": "a\\nb \\u00e9", "total": 27.50}',
        "Content-Type: application/json; charset=utf-8",
        "dXNlcjphbm90aGVyLXNlY3JldA==",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    """Escapes of what is no secret are nobody's business."""
    assert HIDE(text) == text
