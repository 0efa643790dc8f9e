"""Events for the process tests, posted as any client would."""

from __future__ import annotations

import base64
import json
import urllib.request

from tests.harness.service import WRITE_KEY


def track(message_id: str, event: str = "Tested") -> dict[str, object]:
    """A small `track` event."""
    return {"type": "track", "messageId": message_id, "userId": "ann", "event": event}


def post(
    url: str,
    events: list[dict[str, object]],
    timeout_s: float = 30.0,
    write_key: str = WRITE_KEY,
) -> None:
    """Post a batch. Raises OSError (urllib's own included) unless the answer is 200."""
    request = urllib.request.Request(  # noqa: S310 - http, to a service of ours
        f"{url}/v1/batch",
        data=json.dumps({"batch": events}).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(f"{write_key}:".encode()).decode(),
        },
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - see above
        assert json.load(answer)["success"] is True
