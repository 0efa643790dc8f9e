"""Quantities as people read them, in tables and sentences alike."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes as `512 B`, `1.5 KiB`, `20.0 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
