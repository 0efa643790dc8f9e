"""What a viewer gets of a real service: every row there is, and nothing that strangers wrote."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from supervisor.core.causes import cause_of
from supervisor.core.public_causes import public_cause
from tests.conftest import StartService
from tests.harness.service import RunningService, webhook_sections
from tests.harness.waiting import wait_until
from tests.process.client import post

TOKENS = {"operator": "operator-token-123", "viewer": "viewer-token-12345"}
MARK = "MARKER-9f8e7d6c5b4a"
SECRET = "secret-7a6b5c4d3e2f"  # of no partner
EVENT: dict[str, object] = {
    "type": "track",
    "messageId": f"{MARK}-id",
    "userId": f"{MARK}-user",
    "event": f"Bought {MARK}",
    "properties": {"order": MARK, MARK: [MARK, {"deep": MARK}], "mail": f"{MARK}@example.com"},
    "context": {"ip": MARK, "traits": {"email": f"{MARK}@example.com"}},
}
#: Of every answer of the admin API, whatever it is.
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Refusing(BaseHTTPRequestHandler):
    """A partner that refuses each event, in words that have it all."""

    def do_POST(self) -> None:
        """400."""
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        body = json.dumps({"message": f"no such user Quux {MARK}", "input": said}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-About", MARK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def partner() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def ask(
    service: RunningService, method: str, path: str, role: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and the bytes of an answer. Of a stream, those of its first second."""
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=60)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {TOKENS[role]}"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        body = answer.read1(1 << 20) if "/live" in path else answer.read()
        return answer.status, headers, body
    finally:
        connection.close()


def rows_of(service: RunningService) -> list[tuple[str, str]]:
    """Method and path of every row that there is, as the service lists them."""
    _, _, body = ask(service, "GET", "/", "operator")
    found = [row.partition(" ") for row in json.loads(body)["requests"]]
    return [(method, path) for method, _, path in found]


def filled(path: str, letter: str) -> str:
    """A path with names that there are."""
    names = {
        "message_id": f"{MARK}-id",
        "source": "test",
        "build": "none",
        "path:.+": "app.js",
    }
    of_place = {"/connections": "hook", "/pools": "default", "/sources": "test"}
    place = next((name for start, name in of_place.items() if path.startswith(start)), None)
    if path.startswith("/deadletters/{id}"):
        place = letter
    elif path.startswith(("/workers", "/debug/workers")):
        place = "default-1"
    return re.sub(r"\{([^}]*)\}", lambda m: names.get(m[1]) or place or "none", path)


def assert_sought_as_it_is_shown(service: RunningService, reason: str) -> None:
    """A viewer finds dead letters by the cause that is shown, and guesses nothing else of them."""

    def found(cause: str) -> int:
        path = f"/deadletters?cause={quote(cause, safe='')}"
        return len(json.loads(ask(service, "GET", path, "viewer")[2])["deadletters"])

    (group,) = json.loads(ask(service, "GET", "/deadletters/causes", "viewer")[2])["causes"]
    assert found(group["cause"]) == group["count"] == 1
    assert public_cause(cause_of(reason)) == group["cause"] != cause_of(reason)
    assert found(cause_of(reason)) == 0


def test_a_viewer_reads_every_row_and_no_value_of_anybody(
    running_service: StartService, partner: str, tmp_path: Path
) -> None:
    """A marker that is in every field of an event, in its partner's answer and in settings is in no
    byte of any answer to a viewer; what acts or is evidence is 403; a secret is in no answer."""
    (tmp_path / "secret").write_text(SECRET)
    secret = {"file": str(tmp_path / "secret")}
    settings = {"url": partner, "shared_secret": secret, "headers": {"X-Team": MARK}}
    sections = webhook_sections(partner, connection={"settings": settings})
    tokens = {"token": TOKENS["operator"], "view_token": TOKENS["viewer"]}
    service = running_service({**sections, "admin": tokens})
    post(service.url, [EVENT])

    def letters() -> list[dict[str, str]]:
        _, _, body = ask(service, "GET", "/deadletters", "operator")
        found: list[dict[str, str]] = json.loads(body)["deadletters"]
        return found

    wait_until(lambda: bool(letters()), 120, "the partner has refused it")
    (letter,) = letters()
    assert MARK in letter["reason"], "an operator sees what the partner said"
    assert_sought_as_it_is_shown(service, letter["reason"])
    rows = rows_of(service)
    assert len(rows) > 40
    extra = [
        *("/live?look=overview,queues,pool:default,exits,tap:test,tap-rejected:test",),
        *("/tap/test?ring=rejected", "/trends?connection=hook", "/queues?where=hook"),
        *("/deadletters?error=MARK", "/issues?connection=hook", "/schema/test"),
    ]
    _, _, body = ask(service, "GET", "/issues", "viewer")
    extra += [f"/issues/{issue['id']}" for issue in json.loads(body)["issues"]]
    walked = [(method, filled(path, letter["id"])) for method, path in rows]
    refused = 0
    for method, path in [*walked, *(("GET", path) for path in extra)]:
        for root in ("", "/console/api"):
            if root and path.startswith("/console"):
                continue
            status, headers, body = ask(service, method, root + path, "viewer")
            if not path.startswith("/events/"):  # which says back the id that it was asked for
                assert MARK.encode() not in body, (method, root + path)
                assert b"Quux" not in body, (method, root + path)
            assert SECRET.encode() not in body, (method, root + path)
            assert headers.items() >= HEADERS.items(), (method, root + path)
            assert "default-src 'none'" in headers["content-security-policy"]
            refused += status == 403
            if method != "GET" and not path.startswith("/console/"):
                assert status == 403, (method, root + path)
    assert refused > 20
    for path in (f"/deadletters/{letter['id']}", "/debug/workers/default-1/stacks", "/plan"):
        assert ask(service, "GET", path, "viewer")[0] == 403, path
    for path in ("/connections/hook", "/console/api/connections/hook", "/plan", "/status"):
        status, _, body = ask(service, "GET", path, "operator")
        assert status == 200
        assert SECRET.encode() not in body, path
    books = json.loads(ask(service, "GET", "/books", "viewer")[2])["books"]
    assert (books["failed"], books["accepted"]) == (1, 1), "nothing was done"
