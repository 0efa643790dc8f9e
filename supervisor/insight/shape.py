"""Shapes: of what kind a value is, and none of its characters. Pure.

Owns which kinds are told apart, which keys of objects are values themselves, and which names of
events say nothing of anybody.
"""

from __future__ import annotations

import re
from functools import lru_cache

from supervisor.insight.json_text import (
    MAX_DEPTH,
    Members,
    NotJson,
    Number,
    Tree,
    string_of,
    text_of,
    tree_of,
)
from supervisor.insight.names import is_plain_key

#: Longest key whose shape is remembered, in characters, so that the memory is bounded; a longer one
#: is no word that anybody chose.
_REMEMBERED_CHARS = 64

#: An e-mail address behind its local part, and what a local part is of.
_DOMAIN = re.compile(r"(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_LOCAL = re.compile(r"[\w.!#$&'*+/=?^`{|}~%-]*\Z")
_LOCAL_CHARS = 64
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"(?=.*\d)[0-9a-f]{8,}", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.,]*(?:Z|[+-]\d\d:?\d\d)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_IP = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f:]*:[0-9a-f]*:[0-9a-f:.]*", re.IGNORECASE)
_URL = re.compile(r"(https?)://\S+", re.IGNORECASE)
_PHONE = re.compile(r"\+?[\d ().-]{7,20}")
#: Ends of addresses that are nobody's own.
_COMMON_ENDS = frozenset({"com", "net", "org", "edu", "gov", "io", "info", "biz"})

#: Names of events that the specs of trackers fix, so that they say nothing of anybody:
#: https://segment.com/docs/connections/spec/semantic/
_SPEC_NAMES = frozenset(
    """
    products searched|product list viewed|product list filtered|promotion viewed|promotion clicked
    product clicked|product viewed|product added|product removed|cart viewed|checkout started
    checkout step viewed|checkout step completed|payment info entered|order completed|order updated
    order refunded|order cancelled|coupon entered|coupon applied|coupon denied|coupon removed
    product added to wishlist|product removed from wishlist|wishlist product added to cart
    product shared|cart shared|product reviewed|account created|account deleted|signed up
    signed in|signed out|invite sent|account added user|account removed user|trial started
    trial ended|application installed|application opened|application updated
    application backgrounded|application crashed|application uninstalled|push notification received
    push notification tapped|push notification bounced|install attributed|deep link opened
    deep link clicked|email bounced|email delivered|email link clicked|email marked as spam
    email opened|unsubscribed|video playback started|video playback paused
    video playback interrupted|video playback buffer started|video playback buffer completed
    video playback seek started|video playback seek completed|video playback resumed
    video playback completed|video playback exited|video content started|video content playing
    video content completed|video ad started|video ad playing|video ad completed|live chat started
    live chat ended|live chat message sent|live chat message received|home|qa event
    """.replace("\n", "|")
    .replace("    ", "")
    .split("|")
)


def shape_of(text: str | bytes) -> str:
    """JSON text of the same form with a shape in place of each value.

    What is no JSON, or too large, is one shape.
    """
    try:
        tree = tree_of(text)
    except NotJson as error:
        size = len(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
        return string_of(f"<{error}, {size} bytes>")
    return text_of(_shapes(tree, MAX_DEPTH))


def shape(value: Tree) -> str:
    """The shape of one value. Of a text it says the kind, or the length in characters."""
    match value:
        case None:
            return "<null>"
        case bool():
            return "<boolean>"
        case Number():
            return "<integer>" if value.lstrip("-").isdigit() else "<number>"
        case str():
            return _shape_of_string(value)
        case list():
            return f"<array of {len(value)}>"
        case Members():
            return f"<object of {len(value)}>"


def shape_of_key(key: str) -> str:
    """A key as a viewer sees it: a word that programmers chose, else its shape."""
    return _remembered_key(key) if len(key) <= _REMEMBERED_CHARS else _shape_of_string(key)


def public_name(name: str | None) -> str | None:
    """The name of an event as a viewer sees it: one that a spec fixes, else its shape."""
    if name is None or name.lower() in _SPEC_NAMES:
        return name
    return f"<name of {len(name)}>"


@lru_cache(4096)
def _remembered_key(key: str) -> str:
    return key if is_plain_key(key) else _shape_of_string(key)


def _shape_of_string(text: str) -> str:
    if not text:
        return ""
    size = len(text)
    if size <= 320 and "@" in text and without_addresses(text) == "…@…":
        end = text.rpartition(".")[2].lower()
        return f"…@….{end}" if end in _COMMON_ENDS else "…@…"
    if found := _URL.fullmatch(text):
        return f"<{found[1].lower()} URL of {size}>"
    if size <= 64:
        for kind, pattern in (("UUID", _UUID), ("time", _TIME), ("date", _DATE), ("IP", _IP)):
            if pattern.fullmatch(text):
                return f"<{kind}>"
    if text.isdecimal():
        return f"<{size} digits>"
    if _HEX.fullmatch(text):
        return f"<{size} hex>"
    if _PHONE.fullmatch(text):
        return "<phone>"
    return f"<text of {size}>"


def _shapes(tree: Tree, depth: int) -> Tree:
    match tree:
        case Members() if depth:
            return Members((shape_of_key(key), _shapes(item, depth - 1)) for key, item in tree)
        case list() if depth:
            return [_shapes(item, depth - 1) for item in tree]
        case None:
            return None
        case _:
            return shape(tree)


def without_addresses(text: str) -> str:
    """A text with `…@…` in place of what looks like an e-mail address."""
    parts, at = [], 0
    for found in _DOMAIN.finditer(text):
        before = text[max(at, found.start() - _LOCAL_CHARS) : found.start()]
        local = _LOCAL.search(before)
        assert local is not None
        parts += [text[at : found.start() - len(local[0])], "…@…"]
        at = found.end()
    return "".join((*parts, text[at:]))
