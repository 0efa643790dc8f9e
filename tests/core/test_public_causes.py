"""What of a cause is left for whoever may see no partner's free text."""

from __future__ import annotations

import pytest

from supervisor.core.causes import cause_of
from supervisor.core.public_causes import public_cause


@pytest.mark.parametrize(
    ("reason", "public"),
    [
        ("400 Bad Request: Ann Lee is not allowed", "400 Bad Request: … is not allowed"),
        ("deliver raised ValueError: Zqxjkvworb", "deliver raised ValueError: …"),
        ("KeyError: 'zq' at mapping.py:12", "KeyError: '...' at mapping.py:<n>"),
        ('401: {"error":"invalid_grant"}', '401: {"error":"invalid_grant"}'),
        ('400 Bad Request: {"error":"ANNLEE_FAILED"}', '400 Bad Request: {"error":"…_FAILED"}'),
        ("503 Service Unavailable", "503 Service Unavailable"),
        ("429 Too Many Requests: Приве́т wörld", "429 Too Many Requests: …"),
        ("not finished within 30 s", "not finished within <n> s"),
        ("hooks.shop.example:443: no connection: Connection refused",
         "<host>: no connection: Connection refused"),
    ],
)  # fmt: skip
def test_words_that_may_be_somebodys_are_left_out(reason: str, public: str) -> None:
    assert public_cause(cause_of(reason)) == public
    assert public_cause(public) == public


def test_the_longest_cause_is_read_in_no_time() -> None:
    for cause in ("a" * 100_000, "aB" * 50_000, "… " * 50_000, "é_" * 50_000):
        assert len(public_cause(cause)) <= 400
