"""A marker in every field that a stranger can fill: no byte of it reaches a viewer, and of a secret
none reaches anybody or a disk. Through a real service, whose deliveries fail in several ways.

Keys of events that are words are no values, and are shown: they are what a schema is made of.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.harness.service import WRITE_KEY, RunningService
from tests.harness.waiting import wait_until

#: No word of ours, of HTTP or of any API; told from a hash or an id by its having no digit.
MARKER = "Zqxjkvworb"
SECRET = "Sq7/pz+Kw9vLm3Tx"
OPERATOR, VIEWER = "operator-token-4711", "viewer-token-471147"
SLOW_S = 90.0

PLUGIN = f'''
import asyncio
from destinations.kit import Destination, Delivered

class Raises(Destination):
    name = "raises"

    async def deliver(self, events):
        self.log.error("{MARKER} %s", events[0].raw)
        raise ValueError("{MARKER} is wrong with " + str(events[0].message_id))

class Dies(Destination):
    name = "dies"

    async def deliver(self, events):
        words_{MARKER} = events[0].raw
        import ctypes
        ctypes.string_at(0)
'''


class Refusing(BaseHTTPRequestHandler):
    """Answers 400 and says again whatever it was told, and a secret in several forms."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = json.dumps(
            {
                "error": f"{MARKER} is refused",
                MARKER: [body.decode(), dict(self.headers)],
                "forms": [
                    SECRET,
                    urllib.parse.quote(SECRET, safe=""),
                    base64.b64encode(f"x{SECRET}".encode()).decode(),
                ],
            }
        ).encode()[:1900]
        if b"as text" in body:
            said = f"{MARKER} {SECRET} {urllib.parse.quote_plus(SECRET)}".encode()
        self.send_response(400, MARKER)
        self.send_header("X-Said", f"{MARKER} {SECRET}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a partner that refuses everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def sections(folder: Path, refusing: str, payloads: str) -> dict[str, dict[str, object]]:
    plugins = folder / "plugins"
    plugins.mkdir(exist_ok=True)
    (plugins / "marked.py").write_text(PLUGIN)
    files = {"operator": OPERATOR, "viewer": VIEWER, "secret": SECRET}
    for name, text in files.items():
        (folder / name).write_text(text)
    secret = {"file": str(folder / "secret")}
    hook = {
        "url": f"http://{refusing}/{MARKER}/{MARKER}?a={MARKER}&b={urllib.parse.quote(SECRET)}",
        "shared_secret": secret,
        "headers": {"X-Marked": MARKER, "Authorization": secret, "X-Plain": secret},
    }
    return {
        "service": {"plugin_paths": [str(plugins)]},
        "admin": {
            "token": {"file": str(folder / "operator")},
            "view_token": {"file": str(folder / "viewer")},
        },
        "console": {"payloads": payloads, "mask": ["properties.own"]},
        "destinations.raises": {"class": "marked:Raises"},
        "destinations.dies": {"class": "marked:Dies"},
        "pools.default": {"destinations": ["webhooks", "raises"], "allow": [refusing]},
        "pools.risky": {"destinations": ["dies"]},
        "connections.hook": {"source": "test", "destination": "webhooks", "settings": hook},
        "connections.raising": {"source": "test", "destination": "raises"},
        "connections.dying": {"source": "test", "destination": "dies"},
    }


def events() -> list[dict[str, Any]]:  # Any: JSON
    words = f"x {MARKER} y"
    return [
        {
            "type": "track",
            "event": f"{MARKER} Bought",
            "messageId": f"{MARKER}-{n}",
            "userId": MARKER,
            "anonymousId": words,
            "context": {"ip": MARKER, "traits": {"email": f"{MARKER}@{MARKER}.example"}},
            "properties": {
                "own": words,
                "note": "as text" if n else words,
                "url": f"https://{MARKER}.example/{MARKER}?{MARKER}={MARKER}",
                "deep": [{"list": [words, json.dumps({"inner": MARKER})]}],
                f"{MARKER}@x.example": MARKER,
            },
        }
        for n in range(2)
    ]


class Asked:
    """The admin API by one token."""

    def __init__(self, service: RunningService, token: str) -> None:
        self._service = service
        self._token = token

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and answer; of a stream its beginning."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._service.admin_port, timeout=SLOW_S
        )
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            if "event-stream" in (answer.getheader("Content-Type") or ""):
                return answer.status, answer.read1(65_536) + answer.read1(65_536)
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:  # Any: JSON
        status, body = self.get(path)
        assert status == 200, (path, status, body[:300])
        return json.loads(body)

    def walk(self) -> Iterator[tuple[str, int, bytes]]:
        """All that can be got: rows with what their lists name, exits and letters one by one."""
        paths = [
            "/", "/health", "/ready", "/metrics", "/status", "/books", "/deadletters",
            "/deadletters/causes", "/debug/workers", "/debug/exits", "/debug/snapshots", "/me",
            "/trends", "/trends?connection=hook", "/trends?source=test", "/issues",
            "/issues?connection=raising", "/tap/test", "/tap/test?ring=rejected", "/schema/test",
            "/jobs", "/activity", "/overview", "/queues", "/connections/hook", "/sources/test",
            "/connections/raising", "/pools/default", "/pools/risky", "/workers/default-1", "/plan",
            "/live?look=overview,queues,tap:test,tap-rejected:test,exits,pool:default",
        ]  # fmt: skip
        paths += [f"/events/{MARKER}-{n}" for n in range(2)]
        for listed, key in (
            ("/issues", "issues"), ("/deadletters", "deadletters"), ("/debug/exits", "exits")
        ):  # fmt: skip
            status, body = self.get(listed)
            if status == 200:
                rows = json.loads(body)
                found = next(iter(rows.get(key) or rows.values()), None) and rows.get(key)
                paths += [f"{listed}/{row['id']}" for row in found or ()]
        for path in (*paths, *(f"/console/api{path}" for path in paths)):
            yield path, *self.get(path)


def post(service: RunningService, batch: list[dict[str, Any]]) -> None:  # Any: JSON
    key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - http, to a service of ours
        f"{service.url}/v1/batch",
        data=json.dumps({"batch": batch}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {key}"},
    )
    # What none of is taken is answered with 400.
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(request, timeout=SLOW_S),  # noqa: S310 - as above
    ):
        pass


def forms_of(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    for quoted in (urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)):
        yield quoted.encode()
        yield re.sub("%..", lambda found: found[0].lower(), quoted).encode()
    for before in ("", "x", "xy"):
        whole = base64.b64encode((before + secret).encode()).decode()
        yield whole[4:-4].encode()


@pytest.mark.parametrize("payloads", ["masked", "full"])
def test_no_marker_reaches_a_viewer_and_no_secret_anybody(
    tmp_path: Path, open_folder: Path, refusing: str, payloads: str
) -> None:
    """Not in an answer, not in a stream, not in a file below the state directory or the log."""
    service = RunningService(tmp_path / "service", sections(open_folder, refusing, payloads))
    operator, viewer = Asked(service, OPERATOR), Asked(service, VIEWER)
    try:
        service.start()
        post(service, events())
        post(service, [{"type": MARKER, "userId": MARKER, "messageId": f"{MARKER}-bad"}])

        def samples() -> dict[str, Any]:  # Any: JSON
            listed = operator.json("/issues")["issues"]
            told = [operator.json(f"/issues/{issue['id']}") for issue in listed]
            return {issue["connection"]: issue["samples"][0] for issue in told if issue["samples"]}

        wait_until(
            lambda: samples().keys() >= {"hook", "raising", "dying"}, SLOW_S, "each has a sample"
        )
        wait_until(
            lambda: operator.json("/schema/test")["looked_at"] > 0, SLOW_S, "a schema is there"
        )
        _the_operator_sees_what_was_sent(samples()["hook"], payloads)
        for path, status, body in viewer.walk():
            assert status in (200, 403, 404), (path, status, body[:300])
            if "/events/" in path:  # says again which one was asked for, which the asker knows
                body = body.replace(path.rpartition("/")[2].encode(), b"")
            assert MARKER.lower().encode() not in body.lower(), path
            for form in forms_of(SECRET):
                assert form not in body, path
        for path, _, body in operator.walk():
            for form in forms_of(SECRET):
                assert form not in body, path
    finally:
        if service.is_started:
            service.stop()
    _no_secret_is_on_the_disk(service.directory)


def _the_operator_sees_what_was_sent(sample: Mapping[str, Any], payloads: str) -> None:  # Any: JSON
    assert (sample["source"], sample["connection"], sample["outcome"]) == ("test", "hook", "failed")
    request, answer = sample["request"], sample["answer"]
    assert (request["method"], answer["status"], sample["code"]) == ("POST", 400, "400")
    assert request["headers"]["X-Signature"] != ""
    body = json.loads(request["body"])
    event = json.loads(sample["body"])
    if payloads == "full":
        assert body["properties"]["own"] == f"x {MARKER} y"
        assert event["context"]["ip"] == MARKER
    else:
        assert body["properties"]["own"] == event["properties"]["own"] == "<text of 14>"


def _no_secret_is_on_the_disk(folder: Path) -> None:
    looked_at = 0
    for file in folder.rglob("*"):
        if not file.is_file() or file.is_symlink():
            continue
        content = file.read_bytes()
        looked_at += 1
        for form in forms_of(SECRET):
            assert form not in content, file
        if file.name == "samples":
            assert file.stat().st_mode & 0o777 == 0o600
    assert looked_at > 3
    assert (folder / "state" / "samples").exists()
