"""`bulkhead try` and `bulkhead record`, with real workers."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from destinations.kit.loading import load
from supervisor.tapes.tape import read
from supervisor.tapes.testing import deliver, replaying

PLUGINS = Path(__file__).parent / "plugins"

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command with the trial plugins, on the given events and settings."""
    config = tmp_path / "bulkhead.toml"
    classes = ("Raises", "Exits", "Elsewhere", "Talks", "Plain")
    config.write_text(
        f"[service]\nstate_dir = 'state'\nplugin_paths = ['{PLUGINS}']\n"
        "[sources.site]\nwrite_key = 'key'\n"
        "[pools.default]\ndestinations = ['*']\nallow = ['127.0.0.0/8']\n"
        + "".join(f"[destinations.{name.lower()}]\nclass = 'trying:{name}'\n" for name in classes)
        + "[connections.site-talks]\nsource = 'site'\ndestination = 'talks'\n"
        "settings = { token = { env = 'TOKEN' } }\n"
    )

    def command(
        name: str,
        destination: str,
        *events: Mapping[str, Any],
        settings: str | None = None,
        arguments: tuple[str, ...] = (),
    ) -> Ran:
        file = tmp_path / "events.json"
        file.write_text(json.dumps(events))
        if settings is not None:
            (tmp_path / "settings.toml").write_text(settings)
            arguments = ("--settings", str(tmp_path / "settings.toml"), *arguments)
        return subprocess.run(
            [
                *(sys.executable, "-m", "supervisor", name, destination, str(file)),
                *("--config", str(config), *arguments),
            ],
            env={**os.environ, "TOKEN": "s3cret-t0ken"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


def track(user: str = "ann-4711", **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Signed Up", "userId": user, "messageId": user, **fields}


@pytest.fixture
def partner() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server of a partner's: its address, and what it was asked."""
    with serving(None) as served:
        yield served


@contextmanager
def serving(tls: ssl.SSLContext | None) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The same, by TLS where a context is given."""
    asked: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((f"{self.headers['Authorization']} {self.path}", body))
            answer = json.dumps({"id": "a1b2c3d4e5f6", "email": "ann@firma.example"}).encode()
            self.send_response(202)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: Any) -> None:  # Any: the base's signature
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http{'' if tls is None else 's'}://localhost:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_dry(run: Run, partner: tuple[str, list[tuple[str, str]]]) -> None:
    """Without --live the requests are shown whole, secrets hidden, and nothing is sent."""
    url, asked = partner
    settings = f"url = '{url}'\napi_key = {{ env = 'TOKEN' }}"
    ran = run("try", "plain", track("a"), track("b"), track("c"), settings=settings)
    assert ran.returncode == 0, ran.stderr
    assert f"POST {url}/in?who=a\n" in ran.stdout
    for shown in ("Authorization: Bearer (scrubbed)", '"event": "Signed Up"', "X-Team: growth"):
        assert shown in ran.stdout
    assert "track c: delivered" in ran.stdout
    assert "s3cret" not in ran.stdout + ran.stderr
    assert asked == []


def test_live(run: Run, partner: tuple[str, list[tuple[str, str]]]) -> None:
    """With --live they are sent as they are shown, and the answer and the outcome are told."""
    url, asked = partner
    settings = f"url = '{url}'\napi_key = {{ env = 'TOKEN' }}"
    ran = run("try", "plain", track(), settings=settings, arguments=("--live", "--json"))
    assert ran.returncode == 0, ran.stderr
    ((head, body),) = asked
    assert head == "Bearer s3cret-t0ken /in?who=ann-4711"
    told = json.loads(ran.stdout)
    (request,) = told["requests"]
    assert json.loads(request["body"]) == json.loads(body)
    assert request["answer"]["status"] == 202
    assert told["events"][0]["outcome"] == "delivered"
    assert "s3cret" not in ran.stdout


def test_live_over_tls(run: Run, tmp_path: Path) -> None:
    """Certificates count as in production: to a server without a good one nothing is sent."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (tmp_path / "bulkhead.toml").open("a") as config:
        config.write(f"[sandbox]\nca_file = '{tmp_path}/ca.pem'\n")
    for authority, outcome in ((ca, "delivered"), (trustme.CA(), "retry")):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        with serving(tls) as (url, asked):
            ran = run(
                "try", "plain", *map(track, "abc"), settings=f"url = '{url}'", arguments=("--live",)
            )
        assert ran.stdout.count(f": {outcome}") == 3, ran.stdout
        assert len(asked) == (3 if outcome == "delivered" else 0)
    assert "no answer: SSLCertVerificationError: " in ran.stdout


def test_nobody_there(run: Run) -> None:
    """Where nobody listens, the outcome says so, and the command fails."""
    ran = run("try", "plain", track(), settings="url = 'http://127.0.0.1:1'", arguments=("--live",))
    assert ran.returncode == 1
    assert "retry: 127.0.0.1:1: no connection" in ran.stdout


def test_a_mapping_that_raises(run: Run) -> None:
    """What the destination's code raised is told with its source line, and others go on."""
    ran = run("try", "raises", track("raise"), track("fine"))
    assert ran.returncode == 1
    assert 'return Request("https://api.raises.example/" + event["nothing"])' in ran.stdout
    assert f'File "{PLUGINS}/trying.py", line ' in ran.stdout
    assert "KeyError: 'nothing'" in ran.stdout
    assert "track raise: failed: mapping raised KeyError" in ran.stdout
    assert "track fine: delivered" in ran.stdout


def test_a_worker_that_ends(run: Run) -> None:
    """A destination that ends its worker does not end the command."""
    ran = run("try", "exits", track())
    assert ran.returncode == 1
    assert "track ann-4711: retry: the worker ended: crash: exit status 7" in ran.stdout


def test_hosts_are_enforced(run: Run) -> None:
    """A host that the destination does not declare is refused as in production."""
    ran = run("try", "elsewhere", track())
    assert ran.returncode == 1
    assert "www.somebody-else.example:443 is not declared by elsewhere" in ran.stdout


def test_a_connection_of_the_config(run: Run) -> None:
    """The name of a connection stands for its destination and settings; its words are masked."""
    ran = run("try", "site-talks", track())
    assert ran.returncode == 1
    assert "track ann-4711: retry: no use for token-1" in ran.stdout
    assert "token is token-1" in ran.stdout
    assert "s3cret" not in ran.stdout


@pytest.mark.parametrize(
    ("destination", "events", "settings", "code", "error"),
    [
        ("nobody", [track()], None, 2, "there is no destination 'nobody'"),
        ("plain", [track()], "", 2, "plain: settings.url: is required"),
        ("plain", [track()], "url = { env = 'NOT_SET' }", 2, 'url: env "NOT_SET" is not in'),
        ("plain", [track()], "url = ", 2, "is not TOML"),
        ("plain", [{"type": "track"}], "url = 'http://x'", 1, "event 1: userId or anonymousId"),
        ("plain", [], "url = 'http://x'", 1, "holds no events"),
    ],
)
def test_wrong(
    run: Run, destination: str, events: list[Any], settings: str | None, code: int, error: str
) -> None:
    """What is wrong with name, settings or events is told, and nothing runs."""
    ran = run("try", destination, *events, settings=settings)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert error in ran.stderr


def test_record(run: Run, partner: tuple[str, list[tuple[str, str]]], tmp_path: Path) -> None:
    """What was sent and answered is on the tape, nothing secret or personal is, and it plays."""
    url, asked = partner
    tape = tmp_path / "plain-real.yaml"
    ran = run(
        "record",
        "plain",
        track(context={"traits": {"email": "ann@firma.example"}}),
        settings=f"url = '{url}'\napi_key = {{ env = 'TOKEN' }}",
        arguments=("--tape", str(tape)),
    )
    assert ran.returncode == 0, ran.stderr
    assert len(asked) == 1
    text = tape.read_text()
    for gone in ("s3cret", "ann-4711", "firma", "a1b2c3d4e5f6", "BaseHTTP"):
        assert gone not in text
    kept = read(tape)
    assert kept.about.provenance == "real"
    assert kept.about.outcomes == ["delivered"]
    assert kept.exchanges[0].answer.status == 202


async def test_a_recorded_tape_plays(
    run: Run,
    partner: tuple[str, list[tuple[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tape is a test as it is."""
    # By name: replayed names are answered by the tape, and addresses are not.
    url = partner[0]
    tape = tmp_path / "plain-real.yaml"
    event = track(traits={"email": "ann@firma.example", "name": "Ann Özil"})
    settings = f"url = '{url}'\napi_key = {{ env = 'TOKEN' }}"
    ran = run("record", "plain", event, settings=settings, arguments=("--tape", str(tape)))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.syspath_prepend(str(PLUGINS))
    kept = read(tape)
    async with replaying(kept) as session:
        assert await deliver(kept, load("plain", "trying:Plain"), session) == ["delivered"]


def test_nothing_to_record(run: Run, tmp_path: Path) -> None:
    """Where nothing was answered there is no tape."""
    tape = tmp_path / "x-real.yaml"
    settings = "url = 'http://127.0.0.1:1'"
    ran = run("record", "plain", track(), settings=settings, arguments=("--tape", str(tape)))
    assert ran.returncode == 1
    assert "no request was answered" in ran.stderr
    assert not tape.exists()
