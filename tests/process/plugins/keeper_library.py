"""A library with a cache that whoever uses it fills."""

from __future__ import annotations

_CACHE: list[bytes] = []


def add(body: bytes) -> None:
    """Never forgotten."""
    _CACHE.append(body)
