"""Looking values up in decoded JSON by dotted paths, in any case style.

Pure. Follows obj-case, which Segment's facade uses: `order.total_value` finds
`{"order": {"totalValue": 1}}`, and keys that hold dots themselves.
https://github.com/segmentio/obj-case
"""

from __future__ import annotations

import re
from typing import Any

_NOISE = re.compile(r"[^a-z0-9.]+")


def normal(key: str) -> str:
    """A key without case, spaces, dashes and underscores; dots stay."""
    return _NOISE.sub("", key.lower())


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


def _find_in_any_case(value: dict[str, Any], path: str) -> Any:  # Any: decoded JSON
    for key, below in value.items():
        name = normal(key)
        if name == path:
            if below is not None:
                return below
        elif name and path.startswith(name + "."):
            found = find(below, path[len(name) + 1 :])
            if found is not None:
                return found
    return None
