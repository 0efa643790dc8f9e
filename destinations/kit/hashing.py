"""Hashed identifiers: what vendors match people by, without being told the address. Pure.

Ad networks take SHA-256 in hexadecimal; a value that a sender has hashed already passes through,
since hashing it once more would match nobody.
"""

from __future__ import annotations

import re
from hashlib import sha256

_HASHED = re.compile(r"[0-9A-Fa-f]{64}")


def is_hashed(text: str) -> bool:
    """Whether it is a SHA-256 digest: 64 hexadecimal digits."""
    return len(text) == 64 and _HASHED.fullmatch(text) is not None


def hashed(text: str) -> str:
    """The text's SHA-256 in small hexadecimal digits; one that is hashed already as it is.

    What a vendor wants normalised before (case, dots, blanks) is its destination's.
    """
    if is_hashed(text):
        return text.lower()
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
