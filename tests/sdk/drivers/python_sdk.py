"""Sends mixed events with a Python SDK, as a customer's program would, and exits 0 once sent.

`python_sdk.py MODULE HOST WRITE_KEY COUNT`; the three SDKs of this family have
the same client class. Owns nothing but the calls; must not touch the SDK.
"""

from __future__ import annotations

import importlib
import sys


def main(module: str, host: str, write_key: str, count: int) -> str | None:
    """Send `count` events, all six types in turn; the errors that the SDK reported, if any."""
    errors: list[str] = []
    client = importlib.import_module(f"{module}.client").Client(
        write_key, host=host, on_error=lambda error, batch: errors.append(repr(error))
    )
    calls = (
        lambda n: client.identify(f"user-{n}", {"email": f"user{n}@example.com", "plan": "pro"}),
        lambda n: client.track(f"user-{n}", "Order Completed", {"revenue": n / 100}),
        lambda n: client.page(f"user-{n}", "Docs", "Start", {"url": "https://example.com/start"}),
        lambda n: client.screen(f"user-{n}", "App", "Inbox", {"unread": n}),
        lambda n: client.group(f"user-{n}", f"group-{n % 7}", {"name": "Größe & Co"}),
        lambda n: client.alias(f"anonymous-{n}", f"user-{n}"),
    )
    for number in range(count):
        calls[number % len(calls)](number)
    client.flush()
    client.join()
    return f"{module} reported: {errors}" if errors else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
