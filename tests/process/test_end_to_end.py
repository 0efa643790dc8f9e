"""One event of each type through the running service to every destination, on replayed tapes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from supervisor.config import builtin_destinations
from supervisor.tapes.tape import Tape, read
from tests.commands.test_replay import replaying
from tests.conftest import StartService
from tests.process.client import post

TAPES = Path(__file__).parents[1] / "destinations"
EVENTS: list[dict[str, object]] = [
    {"type": "identify", "traits": {"email": "bea@example.org", "lastName": "B", "company": "C"}},
    {
        "type": "track",
        "event": "Order Completed",
        "properties": {"order_id": "o-77", "total": 12, "gclid": "EAIaIQ", "currency": "EUR"},
        "context": {"traits": {"email": "bea@example.org"}},
    },
    {"type": "page", "name": "Home", "properties": {"url": "https://shop.example.com/"}},
    {"type": "screen", "name": "Home"},
    {"type": "group", "groupId": "g-77", "traits": {"name": "C"}},
    {"type": "alias", "previousId": "before-bea"},
]


def tape_of(destination: str) -> Path:
    return TAPES / destination.replace("-", "_") / "tapes" / "accepted-doc.yaml"


def expected(tape: Tape, kind: str) -> str:
    """What becomes of an event of this type: as on the tape, which has all that it can use."""
    on_tape = zip(tape.about.events, tape.about.outcomes, strict=True)
    return next((said for event, said in on_tape if event["type"] == kind), "unsupported")


def test_every_type_to_every_destination(running_service: StartService) -> None:
    """With no network, each event ends at each destination as documented, and the books say so."""
    tapes = {name: read(tape_of(name)) for name in builtin_destinations()}
    paths = [str(tape_of(name)) for name in sorted(tapes)]
    with replaying(*paths) as (address, ca_file, _):
        service = running_service(
            {
                "sandbox": {"proxy": address, "ca_file": str(ca_file)},
                **{
                    f"connections.{name}": {
                        "source": "test",
                        "destination": name,
                        "settings": tape.about.settings,
                    }
                    for name, tape in tapes.items()
                },
            }
        )
        events: list[dict[str, object]] = [
            {**event, "userId": "bea", "messageId": f"e2e-{event['type']}"} for event in EVENTS
        ]
        post(service.url, events)
        total = len(events) * len(tapes)
        service.wait_for(
            lambda books: books["accepted"] == total and books["pending"] == 0, within_s=90
        )
        outcomes: Counter[str] = Counter()
        for event in events:
            ran = service.command(
                "explain", str(event["messageId"]), "--json", "--config", str(service.config_path)
            )
            told = {one["connection"]: one for one in json.loads(ran.stdout)["deliveries"]}
            for name, tape in tapes.items():
                wanted = expected(tape, str(event["type"]))
                assert told[name]["outcome"] == wanted, (name, event, told[name])
                outcomes[wanted] += 1
        status = service.command("status", "--json", "--config", str(service.config_path))
        books = json.loads(status.stdout)["books"]
        delivered = books["delivered_first_try"] + books["delivered_on_retry"]
        assert {"delivered": delivered, "unsupported": books["unsupported"]} == outcomes
        assert (books["accepted"], books["failed"], books["quarantined"]) == (total, 0, 0)
