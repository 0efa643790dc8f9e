"""Looking values up in decoded JSON by dotted paths, in any case style.

Pure. Follows obj-case, which Segment's facade uses: `order.total_value` finds
`{"order": {"totalValue": 1}}`, and keys that hold dots themselves.
https://github.com/segmentio/obj-case
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

#: What tells no keys apart. Letters of all scripts stay, where obj-case keeps those of ASCII only:
#: there, all keys of another script would be one.
_NOISE = re.compile(r"(?:[^\w.]|_)+")
#: Longest key whose normal form is remembered, in characters, so that the memory is bounded.
_REMEMBERED_CHARS = 64


def normal(key: str) -> str:
    """A key without case, spaces, dashes and underscores; dots stay."""
    return _remembered(key) if len(key) <= _REMEMBERED_CHARS else _normal(key)


def _normal(key: str) -> str:
    return _NOISE.sub("", key.lower())


# Senders choose the keys, but most of them from the same few hundred.
_remembered = lru_cache(4096)(_normal)


def find(value: Any, path: str) -> Any:  # Any: decoded JSON
    """The value at a dotted path; None where there is none. Numbers index lists.

    A key that is spelled exactly as in the path wins over one in another style.
    """
    if isinstance(value, dict):
        head, dot, rest = path.partition(".")
        if head in value:
            found = find(value[head], rest) if dot else value[head]
            if found is not None:
                return found
        return _find_in_any_case(value, normal(path))
    if isinstance(value, list):
        head, dot, rest = path.partition(".")
        if head.isascii() and head.isdigit() and len(head) < 7 and int(head) < len(value):
            return find(value[int(head)], rest) if dot else value[int(head)]
    return None


# Any: decoded JSON
def _find_key(value: dict[str, Any], name: str) -> Any:
    """The same for a path of one key: most are, and it is asked for often."""
    best = ""
    found: Any = None
    for key in value:
        # As `normal` does, without the call: this loop is what most accessors cost.
        plain = _remembered(key) if len(key) <= _REMEMBERED_CHARS else _normal(key)
        if plain == name and value[key] is not None and (found is None or key < best):
            best, found = key, value[key]
    return found


# Any: decoded JSON
def _find_in_any_case(value: dict[str, Any], path: str) -> Any:
    """The value under a key in another style; of several the first by its key, not by its place."""
    if not path:
        return None
    if "." not in path:
        return _find_key(value, path)
    best: tuple[bool, str] | None = None
    found: Any = None
    for key, below in value.items():
        if below is None:
            continue
        name = normal(key)
        if name == path:
            rank, here = (False, key), below
        elif name and path.startswith(name + "."):
            here = find(below, path[len(name) + 1 :])
            if here is None:
                continue
            rank = (True, key)
        else:
            continue
        if best is None or rank < best:
            best, found = rank, here
    return found


def plain_keys(value: Mapping[str, Any]) -> dict[str, Any]:  # Any: decoded JSON
    """An object by its keys in plain form, nulls left out; for who asks for many of them.

    Of two keys that are one in plain form, that in plain form itself counts, else the first by
    its characters: the order in which a sender's library writes keys decides nothing.
    """
    plain: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for key, below in value.items():
        if below is None:
            continue
        name = normal(key)
        if name in taken and (key != name and (taken[name] == name or key > taken[name])):
            continue
        taken[name] = key
        plain[name] = below
    return plain
