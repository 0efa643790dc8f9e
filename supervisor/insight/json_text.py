"""JSON text to a tree and back, with every number as it was written. Pure.

Owns what is still JSON for us: how large, how deep, of how many values. Must not know what a value
means. A number keeps its digits (`1.10`, integers past 2^53) since it is never made a float, and an
object keeps all its members, in their order and with those that stand there twice.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import NoReturn

#: Longest text that is read, in bytes; reading and writing it anew takes a few milliseconds.
MAX_BYTES = 64 * 1024
#: Deepest nesting that is walked; what lies deeper is as good as not there.
MAX_DEPTH = 32


class NotJson(Exception):
    """It is no JSON text that we read: the text says what it is instead."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Members(tuple[tuple[str, "Tree"], ...]):
    """An object: its members in order."""

    __slots__ = ()


Tree = Members | list["Tree"] | Number | str | bool | None


def tree_of(text: str | bytes) -> Tree:
    """The tree of a JSON text. Raises NotJson."""
    if len(text) > MAX_BYTES:
        raise NotJson(f"larger than {MAX_BYTES} bytes")
    try:
        plain = text.decode() if isinstance(text, bytes) else text
        tree: Tree = _decoder.decode(plain)
    except (ValueError, RecursionError):  # UnicodeDecodeError too
        raise NotJson("no JSON") from None
    return tree


def text_of(tree: Tree) -> str:
    """JSON text of a tree, without blanks; what lies deeper than MAX_DEPTH is null."""
    parts: list[str] = []
    _write(tree, parts, MAX_DEPTH)
    return "".join(parts)


def string_of(text: str) -> str:
    """A text as a JSON string that UTF-8 can carry: halves of a surrogate pair stay escapes."""
    if text.isascii():
        return encode_basestring_ascii(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text)
    return encode_basestring(text)


def _write(tree: Tree, parts: list[str], depth: int) -> None:
    match tree:
        case Number():
            parts.append(tree)
        case str():
            parts.append(string_of(tree))
        case True:
            parts.append("true")
        case False:
            parts.append("false")
        case list() if depth:
            parts.append("[")
            for index, item in enumerate(tree):
                if index:
                    parts.append(",")
                _write(item, parts, depth - 1)
            parts.append("]")
        case Members() if depth:
            parts.append("{")
            for index, (key, item) in enumerate(tree):
                parts.append(("," if index else "") + string_of(key) + ":")
                _write(item, parts, depth - 1)
            parts.append("}")
        case _:
            parts.append("null")


def _refused(word: str) -> NoReturn:
    raise ValueError(word)  # NaN and Infinity are Python's JSON alone


_decoder = json.JSONDecoder(
    object_pairs_hook=Members,
    parse_float=Number,
    parse_int=Number,
    parse_constant=_refused,
)
