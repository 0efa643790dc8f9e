"""Careless servers and the commands that speak to them: the verdict is that of a delivery.

The same server, the same connection of the same config, and the same events: once by the service,
and once by each command. What the server is sent is the same as well, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socketserver
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from supervisor.tapes.tape import read, text_of
from tests.conftest import StartService
from tests.destinations.kit.client.careless import TABLE, Careless
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post

PLUGINS = Path(__file__).parent / "plugins"
#: Escapes and signs that a signed URL is good for.
SIGNED = "a%2Fb%2B%40;c=d"
#: What has been said when a server falls silent, its connection open.
SILENT = (
    Careless(
        "silence within the body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", True, None
    ),
    Careless("silence without a length", b"HTTP/1.1 202 OK\r\n\r\nok", True, None, status=202),
    Careless("silence within the head", b"HTTP/1.1 200 OK\r\nX: a\r\nY", True, None),
    Careless("silence within the status", b"HTTP/1.1 2", False, status=None),
    Careless("silence", b"", False, status=None),
)
#: Seconds that a silent server waits for its client to leave.
PATIENCE_S = 30.0
#: Seconds that any other waits for the next request, before it closes the connection.
IDLE_S = 0.3


class Partner:
    """Answers the n-th user's events with the n-th row, whoever asks; a context manager."""

    def __init__(self, rows: Sequence[Careless]) -> None:
        self.rows = rows
        self.asked: list[tuple[str, bytes]] = []
        """Whose event came, and the head of the request."""
        self.port = 0

    def heads(self) -> dict[str, bytes]:
        """What was asked since the last time, by user."""
        heads, self.asked = dict(self.asked), []
        # Events are stored with more than was sent, so that their sizes differ.
        return {
            who: re.sub(rb"(?i)(content-length: )\d+", rb"\1N", head) for who, head in heads.items()
        }

    @contextlib.contextmanager
    def serve(self) -> Iterator[Partner]:
        """Listen, each connection in a thread."""
        partner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                waits_s = PATIENCE_S
                with contextlib.suppress(ConnectionError):  # it has read enough
                    while select.select([self.connection], [], [], waits_s)[0] and self.answer():
                        # Who closes at once may meet the next request on its way.
                        waits_s = IDLE_S

            def answer(self) -> bool:
                head = b""
                while (line := self.rfile.readline()).strip():
                    head += line
                if not head:
                    return False  # it has left
                size = re.search(rb"(?i)content-length: (\d+)", head)
                assert size is not None
                self.rfile.read(int(size[1]))
                found = re.search(rb"who=(\d+)", head)
                assert found is not None
                who = found[1].decode()
                partner.asked.append((who, head))
                row = partner.rows[int(who)]
                self.wfile.write(row.said)
                if row in SILENT:
                    select.select([self.connection], [], [], PATIENCE_S)
                return row not in SILENT

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

        with Server(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def an_event(user: int, **fields: object) -> dict[str, object]:
    return {
        "type": "track",
        "event": "Tested",
        "userId": str(user),
        "messageId": f"m{user}",
        **fields,
    }


def by_the_service(service: RunningService, count: int) -> list[tuple[str, str]]:
    """The outcome of each event's first attempt, and why."""
    post(service.url, [an_event(user) for user in range(count)])

    def delivery(user: int) -> dict[str, Any]:  # Any: JSON
        (found,) = service.admin(f"/events/m{user}")["deliveries"]
        return dict(found)

    found: dict[int, tuple[str, str]] = {}

    def all_tried() -> bool:
        for user in range(count):
            one = delivery(user)
            if one["outcome"] == "delivered" or one["last_error"]:
                found.setdefault(user, (one["outcome"] or "retry", one["last_error"] or ""))
        return len(found) == count

    wait_until(all_tried, 90, "all were tried once")
    return [found[user] for user in range(count)]


@pytest.mark.parametrize(
    ("destination", "rows"), [("plain", TABLE), ("by-hand", TABLE), ("hasty", SILENT)]
)
def test_the_verdict_is_that_of_a_delivery(
    running_service: StartService, tmp_path: Path, destination: str, rows: Sequence[Careless]
) -> None:
    """Outcomes, reasons and requests are the same; what is shown is what a destination reads."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    try:
        require_the_same(running_service, first, destination, rows)
    except (AssertionError, json.JSONDecodeError):
        # Of seventy careless answers one is rarely read otherwise, by the service or the try, on a
        # busy machine: why is not known yet. What is always so fails twice.
        second.mkdir()
        require_the_same(running_service, second, destination, rows)


def require_the_same(
    running_service: StartService, tmp_path: Path, destination: str, rows: Sequence[Careless]
) -> None:
    """One service and one try, each with all rows."""
    classes = {"plain": "Plain", "by-hand": "ByHand", "hasty": "Hasty"}
    with Partner(rows).serve() as partner:
        service = running_service(
            {
                "service": {"plugin_paths": [str(PLUGINS)]},
                # Nothing is tried twice while this runs.
                "retry": {"first_delay": "10m", "max_delay": "10m"},
                f"destinations.{destination}": {"class": f"trying:{classes[destination]}"},
                "pools.default": {"destinations": ["*"], "allow": [f"127.0.0.1:{partner.port}"]},
                "connections.hook": {
                    "source": "test",
                    "destination": destination,
                    "settings": {"url": f"http://127.0.0.1:{partner.port}/{SIGNED}"},
                },
            }
        )
        delivered = by_the_service(service, len(rows))
        heads = partner.heads()
        events = tmp_path / "events.json"
        events.write_text(json.dumps([an_event(user) for user in range(len(rows))]))
        subject = ("hook", str(events), "--config", str(service.config_path))
        tried = service.command("try", *subject, "--live", "--json")
        assert (tried.returncode in (0, 1), tried.stderr) == (True, ""), tried.returncode
        shown = json.loads(tried.stdout)
        assert [(one["outcome"], one["detail"]) for one in shown["events"]] == delivered
        # An attempt of the service may have ended, on a busy machine, before it was on its way.
        asked = partner.heads()
        assert heads.items() <= asked.items()
        tape = tmp_path / "careless-real.yaml"
        recorded = service.command("record", *subject, "--tape", str(tape))
        assert recorded.returncode == 0, recorded.stderr
        assert partner.heads() == asked
    assert [outcome for outcome, _ in delivered] == [
        "delivered" if row.status is not None else "retry" for row in rows
    ]
    answers: dict[int, Any] = {}  # Any: JSON
    for request in shown["requests"]:
        assert f"/{SIGNED}/in?who=" in request["url"]
        answers[int(request["url"].rpartition("=")[2])] = request["answer"]
    for user, row in enumerate(rows):
        answer = answers[user]
        assert (answer and answer["status"]) == row.status, row.name
        if row.status is not None and row.body is not None:
            assert answer["body"] == text_of(row.body), row.name
        if row.status is not None and row.body is None:
            assert answer["flaw"], row.name
    kept = read(tape)
    assert [outcome.partition(":")[0] for outcome in kept.about.outcomes] == [
        outcome for outcome, _ in delivered
    ]
    assert sorted(one.answer.status for one in kept.exchanges) == sorted(
        row.status for row in rows if row.status is not None
    )
