"""One event at a connection, from the console: in a jail of its own, and with no secret told."""

from __future__ import annotations

import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.conftest import StartService
from tests.console.asking import SLOW_S, ask, done
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until

PLUGINS = str(Path(__file__).parent / "plugins")
SECRET = 'Zx9"é/+qw&7 k=L'
KEY = "plain-key-4711-xyz"
EVENT = {"type": "track", "event": "Ordered", "userId": "ann", "messageId": "m1"}


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers with all that it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(self.path)  # type: ignore[attr-defined]  # ours, below
        told = json.dumps(
            {"path": unquote(self.path), "headers": dict(self.headers), "body": body.decode()}
        ).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def echo() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the paths that it was asked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    asked: list[str] = []
    server.asked = asked  # type: ignore[attr-defined]  # read by its handler
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sections(url: str, **connection: object) -> dict[str, dict[str, object]]:
    """Connections to try."""
    settings = {"url": url, "handle": {"env": "HANDLE"}, "api_key": KEY}
    return {
        "service": {"plugin_paths": [PLUGINS]},
        "pools.default": {
            "destinations": ["*"],
            "allow": ["127.0.0.0/8"],
            "workers": 1,
            "spares": 0,
        },
        "destinations.spreads": {"class": "tried:Spreads"},
        "destinations.hangs": {"class": "tried:Hangs"},
        "connections.spread": {
            "source": "test",
            "destination": "spreads",
            "settings": settings,
            **connection,
        },
        "connections.hung": {"source": "test", "destination": "hangs"},
        "console": {"payloads": "full"},
    }


@pytest.fixture(autouse=True)
def handle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret that services of these tests have in their environment."""
    monkeypatch.setenv("HANDLE", SECRET)


def forms() -> list[str]:
    """How the two secrets may stand in an answer."""
    found = []
    for secret in (SECRET, KEY):
        found += [secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]]
        found.append(json.dumps(json.dumps(secret)[1:-1])[1:-1])
        for before in ("", "a", "bc"):
            # What no other text shares: the base64 of what is surely inside.
            encoded = base64.b64encode(f"{before}{secret}:{before}".encode()).decode()
            found.append(encoded[4:-4])
    return found


def require_no_secret(told: object) -> None:
    """No form of a secret is in an answer, nor in what its texts say once they are read."""
    raw = json.dumps(told, ensure_ascii=False)
    for text in (raw, json.dumps(told), unquote(raw)):
        for form in forms():
            assert form not in text, form


def test_a_try_shows_requests_and_sends_nothing(
    running_service: StartService, echo: tuple[str, list[str]]
) -> None:
    """Every request with its assumed answer and the outcome; the partner hears nothing of it."""
    url, asked = echo
    service = running_service(sections(url))
    told = done(service, "POST", "/try", {"connection": "spread", "event": EVENT})
    assert (told["outcome"], told["live"]) == ("failed", False)
    assert len(told["requests"]) == len(told["answers"]) == 14
    assert {one["method"] for one in told["requests"]} == {"POST"}
    assert {one["status"] for one in told["answers"]} == {200}
    require_no_secret(told)
    assert asked == []
    assert service.books()["accepted"] == 0
    assert done(service, "GET", "/activity")["activity"] == []


def test_a_live_try_is_sent_and_in_no_book(
    running_service: StartService, echo: tuple[str, list[str]]
) -> None:
    """What the partner answered is told without secrets; one line says who did it."""
    url, asked = echo
    service = running_service(sections(url))
    told = done(service, "POST", "/try", {"connection": "spread", "event": EVENT, "live": True})
    assert (told["outcome"], told["live"]) == ("failed", True)
    assert {one["status"] for one in told["answers"]} == {400}
    assert len(asked) == 14
    assert "no book" in told["note"]
    require_no_secret(told)
    assert service.books()["accepted"] == 0
    (deed,) = done(service, "GET", "/activity")["activity"]
    assert (deed["action"], deed["on"]) == ("try", "spread")
    assert "no book" in deed["note"]
    assert SECRET not in service.log_path.read_text()


def test_live_keeps_pause_breaker_and_rate(
    running_service: StartService, echo: tuple[str, list[str]]
) -> None:
    """What holds back the connection's own deliveries holds back a try that would be sent."""
    url, asked = echo
    service = running_service(sections(url, rate_limit="0.01/s"))
    live = {"connection": "spread", "event": EVENT, "live": True}
    done(service, "POST", "/connections/spread/pause")
    status, told = ask(service, "POST", "/try", live)
    assert (status, told["error"]) == (409, "refused")
    assert "an operator to resume it" in told["message"]
    assert done(service, "POST", "/try", {**live, "live": False})["outcome"] == "failed"
    done(service, "POST", "/connections/spread/resume")
    assert done(service, "POST", "/try", live)["live"]
    status, told = ask(service, "POST", "/try", live)
    assert (status, told["error"]) == (409, "refused")
    assert "its rate limit" in told["message"]
    assert len(asked) == 14


def test_what_hangs_is_ended_and_one_is_tried_at_a_time(
    running_service: StartService, echo: tuple[str, list[str]]
) -> None:
    """It ends in its time with a word for it; meanwhile others are told to wait."""
    service = running_service(sections(echo[0]))
    answers: list[tuple[int, Any]] = []

    def hang() -> None:
        answers.append(ask(service, "POST", "/try", {"connection": "hung", "event": EVENT}))

    # Whichever comes first has the place.
    hanging = [threading.Thread(target=hang) for _ in range(2)]
    for each in hanging:
        each.start()
    for each in hanging:
        each.join(SLOW_S)
    (status, told), (refused_with, why) = sorted(answers, key=lambda answer: answer[0] == 409)
    assert (refused_with, why["error"]) == (409, "busy")
    assert status in (200, 503), told
    text = told["detail"] if status == 200 else told["message"]
    assert "s" in text.split()
    wait_until(lambda: service.metric("bulkhead_config_reload_success") == 1, SLOW_S, "it lives")
    children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_try(int(pid))]
    assert children == []


def _is_try(pid: int) -> bool:
    try:
        return b"supervisor.dryrun.one_event" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def refused(service: RunningService, body: object) -> str:
    """Why a request is none."""
    status, told = ask(service, "POST", "/try", body)
    assert status in (400, 404), (status, told)
    message: str = told["message"]
    return message


def test_what_is_no_try_is_told(running_service: StartService, echo: tuple[str, list[str]]) -> None:
    """An event is judged as the tracking API does; settings and paths are no part of a request."""
    service = running_service(sections(echo[0]))
    asked = {"connection": "spread", "event": EVENT}
    assert "no connection 'none'" in refused(service, {**asked, "connection": "none"})
    assert "settings" in refused(service, {**asked, "settings": {"url": "http://127.0.0.1:1"}})
    assert "file" in refused(service, {**asked, "file": "/etc/passwd"})
    assert "userId" in refused(service, {**asked, "event": {"type": "track", "event": "x"}})
    assert "type" in refused(service, {**asked, "event": {**EVENT, "type": "tracks"}})
    assert "event" in refused(service, {**asked, "event": [EVENT, EVENT]})
    assert "event" in refused(service, {**asked, "event": "EVENT"})
    large = {**EVENT, "properties": {"x": "y" * 40_000}}
    assert "max_event" in refused(service, {**asked, "event": large})
    assert service.books()["accepted"] == 0


def test_an_event_as_large_as_is_taken_can_be_tried(
    running_service: StartService, echo: tuple[str, list[str]]
) -> None:
    """To the byte of `api.max_event`, past what other requests may hold; one more is told."""
    most = 600_000
    limits = {"api": {"max_event": f"{most}B", "max_request": "2MiB"}}
    service = running_service({**sections(echo[0]), **limits})
    empty = len(json.dumps({**EVENT, "properties": {"x": ""}}))
    for size, status in ((most, 200), (most + 1, 400), (most + 100_000, 400)):
        event = {**EVENT, "properties": {"x": "y" * (size - empty)}}
        assert len(json.dumps(event)) == size
        found, told = ask(service, "POST", "/try", {"connection": "spread", "event": event})
        assert found == status, (size, told)
        assert (told["outcome"] == "failed") if status == 200 else ("max_event" in told["message"])
    assert service.books()["accepted"] == 0
