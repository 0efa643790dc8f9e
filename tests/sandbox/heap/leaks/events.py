"""What the leaking programs leak: customers' events, three megabytes of them."""

from __future__ import annotations

EVENTS = 1_500


def event(number: int) -> dict[str, object]:
    """An event of about two kilobytes, different from all others."""
    return {
        "type": "track",
        "userId": f"user-{number}",
        "event": f"Bought {number}",
        "properties": {"total": number / 100, "note": f"{number} " * 200, "items": [number] * 20},
    }
