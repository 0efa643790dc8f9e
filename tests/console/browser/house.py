"""A real service with something to show on every page: deliveries, failures, a leak, a death.

Owns its config and what has happened in it before a test looks.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.service import WRITE_KEY, RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until

PLUGINS = Path(__file__).parent / "plugins"
#: Seconds that a busy machine may take for one thing.
WITHIN_S = 60.0
OPERATOR, VIEWER = "an-operators-token-of-the-tests", "a-viewers-token-of-the-tests"
#: Write keys of the sources beside `test`.
LEAKS_KEY, DEATHS_KEY = "leaks-write-key", "deaths-write-key"
#: Texts that a page must show as text: markup, a script, control and bidi characters.
HOSTILE_NAME = '<img src=x onerror="alert(1)"><script>alert(2)</script> \u202egnp.exe\u0007\u2066'
#: A number that no double can hold, and one that JSON.parse would write otherwise.
HUGE, EXACT = "12345678901234567890", "1.10"


def sections(good: str, refusing: str) -> dict[str, dict[str, object]]:
    """The config; both are URLs of webhooks."""
    hosts = sorted({url.removeprefix("http://").rstrip("/") for url in (good, refusing)})
    return {
        "service": {"plugin_paths": [str(PLUGINS)]},
        "retry": {"first_delay": "200ms", "max_delay": "1s"},
        "console": {"payloads": "full"},
        "pools.default": {"destinations": ["*"], "workers": 2, "spares": 1, "allow": hosts},
        "destinations.leaky": {"class": "misbehaving:Leaky"},
        "destinations.fragile": {"class": "misbehaving:Fragile"},
        "sources.leaks": {"write_key": LEAKS_KEY},
        "sources.deaths": {"write_key": DEATHS_KEY},
        "connections.hook": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": good},
        },
        "connections.refused": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": refusing},
        },
        "connections.leaky": {"source": "leaks", "destination": "leaky"},
        "connections.fragile": {"source": "deaths", "destination": "fragile"},
    }


def post(service: RunningService, body: str, key: str = WRITE_KEY, path: str = "batch") -> int:
    """Post a body as it is; the status of the answer."""
    request = urllib.request.Request(  # noqa: S310 - http, to a service of ours
        f"{service.url}/v1/{path}",
        data=body.encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode(),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310 - see above
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def track(message_id: str, event: str = "Tested", **properties: object) -> dict[str, object]:
    """A small `track` event."""
    return {
        "type": "track",
        "messageId": message_id,
        "userId": "ann",
        "event": event,
        "properties": properties,
    }


def batch(events: list[dict[str, object]]) -> str:
    """The body of a request that has them all."""
    return json.dumps({"batch": events})


@dataclass
class House:
    """The service, and where its events go. `exit_id` is of the worker that died in the beginning,
    `snapshot` of one that has a leak's objects in it.
    """

    service: RunningService
    good: SinkProcess
    refusing: SinkProcess
    exit_id: str = ""
    snapshot: str = ""

    @property
    def base(self) -> str:
        """Where the console is."""
        return f"http://127.0.0.1:{self.service.admin_port}/console/"

    def post(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """An acting request to the admin API; its answer. Any: JSON."""
        return acting(self.service, method, path, body)

    def happen(self) -> None:
        """Have all that pages show happen, and wait until it has."""
        service = self.service
        # First: of what comes at once only some is sampled.
        hostile = json.dumps(track("hostile", HOSTILE_NAME, text=HOSTILE_NAME))
        exact = hostile[:-2] + f', "huge": {HUGE}, "exact": {EXACT}}}}}'
        assert post(service, exact, path="track") == 200
        events = [
            track(f"good-{n}", "Order Completed", total=27.5, email="ann@example.com")
            for n in range(20)
        ]
        assert post(service, batch(events)) == 200
        assert (
            post(service, json.dumps({"type": "track", "event": "Nobody's <b>"}), path="track")
            == 400
        )
        assert post(service, batch([track(f"leak-{n}") for n in range(120)]), LEAKS_KEY) == 200
        assert post(service, batch([track("kill-1", "Kill")]), DEATHS_KEY) == 200
        wait_until(lambda: self._is_dead_letter("refused"), WITHIN_S, "a webhook's refusal is kept")
        wait_until(lambda: self._is_dead_letter("fragile"), WITHIN_S, "what kills is quarantined")
        self.exit_id = service.admin("/debug/exits?connection=fragile&reason=signal")["exits"][0][
            "id"
        ]
        wait_until(lambda: service.queue_of("leaky")["depth"] == 0, WITHIN_S, "the leak is there")
        self.snapshot = self.largest_heap()

    def largest_heap(self) -> str:
        """The name of a new snapshot, of the worker with most memory."""
        taken: list[str] = []

        def is_taken() -> bool:
            pools = self.service.admin("/status")["pools"]
            workers = [worker for pool in pools for worker in pool["workers"]]
            largest = max(workers, key=lambda worker: int(worker["rss_bytes"]))
            try:
                said = self.post("POST", "/debug/snapshots", {"worker": largest["id"]})
            except urllib.error.HTTPError as error:
                if error.code != 409:
                    raise
                return False  # it is being replaced, or another snapshot is taken
            taken.append(said["name"])
            return True

        wait_until(is_taken, WITHIN_S, "a snapshot is taken")
        return taken[0]

    def _is_dead_letter(self, connection: str) -> bool:
        return bool(self.service.admin(f"/deadletters?connection={connection}")["deadletters"])


def acting(
    service: RunningService, method: str, path: str, body: Mapping[str, object] | None = None
) -> Any:  # Any: JSON
    """An acting request to the admin API; its answer. Raises HTTPError."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.admin_port}{path}",
        data=json.dumps(body or {}).encode(),
        method=method,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310 - see above
        said = answer.read()
        return json.loads(said) if said else None
