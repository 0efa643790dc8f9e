"""Egress of a whole service: refusals, names, a private CA, a proxy, and who may see secrets."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import trustme
from aiohttp import web

from tests.conftest import StartService
from tests.harness.background import Background
from tests.harness.dns import NameServer
from tests.harness.proxy import ConnectProxy
from tests.harness.service import RunningService, webhook_sections, writable
from tests.harness.sink import Sink, SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.plugins.egress_trials import ABUSES
from tests.process.test_reload import logged, reload

PLUGINS = str(Path(__file__).parent / "plugins")

Sections = dict[str, dict[str, object]]


@pytest.fixture
def background() -> Iterator[Background]:
    """A loop for servers."""
    with Background() as loop:
        yield loop


@contextlib.contextmanager
def service(
    directory: Path, sections: Sections, environment: Mapping[str, str]
) -> Iterator[RunningService]:
    """A service with this environment; it has to end well."""
    one = RunningService(directory, sections, environment=environment).start()
    try:
        yield one
        one.stop()
    finally:
        one.kill()


def hook(url: str, **settings: object) -> dict[str, object]:
    return {"source": "test", "destination": "webhooks", "settings": {"url": url, **settings}}


def last_error(service: RunningService, message_id: str, connection: str) -> str:
    """Why a delivery has not arrived yet, "" while nothing is known."""
    deliveries = service.admin(f"/events/{message_id}")["deliveries"]
    return next(d["last_error"] or "" for d in deliveries if d["connection"] == connection)


def test_refusals_are_told_everywhere(running_service: StartService, sink: SinkProcess) -> None:
    """What is not allowed waits; event, queue, metric and log say why; a reload lets it through."""
    sections = webhook_sections(sink.url)
    allowed = sections["pools.default"]["allow"]
    sections["pools.default"]["allow"] = []
    service = running_service(sections)
    post(service.url, [track("m1")])
    wait_until(lambda: "egress refused" in last_error(service, "m1", "hook"), 20, "a refusal")
    place = sink.url.removeprefix("http://").rstrip("/")
    reason = f"egress refused: {place} is a loopback address, not a public one;"
    assert f'add "{place}" to pools.default.allow' in last_error(service, "m1", "hook")
    (queue,) = service.admin("/status")["queues"]
    assert queue["egress_refused"] >= 1
    assert queue["last_egress_refusal"].startswith(reason)
    (line, *_) = logged(service, "egress_refused")
    assert line["reason"].startswith(reason)
    assert (line["connection"], line["pool"]) == ("hook", "default")
    metrics = f"http://127.0.0.1:{service.admin_port}/metrics"
    with urllib.request.urlopen(metrics) as page:
        found = re.search(
            rb'egress_connects_total\{connection="hook",result="refused"\} (\d+)', page.read()
        )
    assert found
    assert int(found[1]) >= 1
    sections["pools.default"]["allow"] = allowed
    reload(service, sections)
    service.wait_for(lambda books: books["delivered_on_retry"] == 1, 30)


def test_names(background: Background, sink: SinkProcess, tmp_path: Path) -> None:
    """Names are resolved for workers, and a name server that is silent about one delays no other.

    A stop does not wait for it either.
    """
    port = int(sink.url.rstrip("/").rpartition(":")[2])
    names = NameServer(
        {"hook.example": [["127.0.0.1"]], "rebound.example": [["10.0.0.1"]]},
        silent={"silent.example"},
    )
    sections: Sections = {
        "service": {"drain_timeout": "500ms"},
        "pools.default": {"destinations": ["*"], "allow": [f"127.0.0.1:{port}"]},
        "connections.good": hook(f"http://hook.example:{port}/"),
        "connections.silent": hook("https://silent.example/"),
        "connections.none": hook("https://none.example/"),
        "connections.inside": hook("https://rebound.example/"),
    }
    server = background.run(names.start())
    with service(tmp_path / "service", sections, {"BULKHEAD_NAMESERVERS": server}) as one:
        post(one.url, [track("m1")])
        wait_until(lambda: sink.received() == {"m1": 1}, 20, "the good one's event")
        assert not last_error(one, "m1", "silent")
        wait_until(lambda: bool(last_error(one, "m1", "none")), 20, "an error for no name")
        wait_until(lambda: bool(last_error(one, "m1", "inside")), 20, "an error for a private one")
        wait_until(lambda: bool(last_error(one, "m1", "silent")), 30, "an error for silence")
        errors = {name: last_error(one, "m1", name) for name in ("none", "inside", "silent")}
        post(one.url, [track(f"late-{n}") for n in range(50)])
    background.run(names.stop())
    assert errors["none"] == "none.example:443: no connection: there is no such host name"
    assert "egress refused: rebound.example:443 is at 10.0.0.1, which" in errors["inside"]
    assert errors["silent"] == "silent.example:443: no connection: no name server answered in time"


def test_private_ca_and_proxy(background: Background, tmp_path: Path) -> None:
    """All goes through the proxy with its password, TLS by the private CA, and no worker knows it.

    A connection whose server has another CA's certificate says so. The CA's file lies in the
    state directory, which is closed to all users but the service's, and is its owner's alone.
    """
    password = "proxy-password-of-nobody-else"
    ca, other = trustme.CA(), trustme.CA()
    ca_file = tmp_path / "service" / "state" / "ca.pem"
    ca_file.parent.mkdir(mode=0o700, parents=True)
    ca.cert_pem.write_to_path(str(ca_file))
    ca_file.chmod(0o600)
    sink = Sink()
    servers = [
        background.run(_serve_tls(sink, authority, name))
        for authority, name in ((ca, "hook.example"), (other, "other.example"))
    ]
    ports = [runner.addresses[0][1] for runner in servers]
    proxy = ConnectProxy(
        {"hook.example:443": ports[0], "other.example:443": ports[1]},
        f"Basic {base64.b64encode(f'bulkhead:{password}'.encode()).decode()}",
    )
    background.run(proxy.start())
    sections: Sections = {
        "sandbox": {
            "ca_file": str(ca_file),
            "proxy": f"http://bulkhead:{password}@127.0.0.1:{proxy.port}",
        },
        "connections.good": hook("https://hook.example/in"),
        "connections.other": hook("https://other.example/in"),
    }
    with service(tmp_path / "service", sections, {}) as one:
        post(one.url, [track(f"m{n}") for n in range(20)])
        one.wait_for(lambda books: books["delivered_first_try"] == 20, 30)
        assert dict(sink.received) == {f"m{n}": 1 for n in range(20)}
        if os.geteuid() == 0:
            assert one.admin("/status")["sandbox"]["uid"] == "on"
        wait_until(lambda: bool(last_error(one, "m0", "other")), 20, "the other's error")
        assert "its TLS certificate is not trusted" in last_error(one, "m0", "other")
        assert {asked for asked, _ in proxy.asked} == {"hook.example:443", "other.example:443"}
        for pid in _children(one.pid):
            assert password.encode() not in _visible(pid)
    background.run(proxy.stop())
    for runner in servers:
        background.run(runner.cleanup())


async def _serve_tls(sink: Sink, ca: trustme.CA, name: str) -> web.AppRunner:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    runner = web.AppRunner(sink.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner


def test_no_open_file_left(running_service: StartService, sink: SinkProcess) -> None:
    """A worker at its limit of open files says so, loses no slot by it, and delivers later."""
    place = sink.url.removeprefix("http://").rstrip("/")
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "retry": {"first_delay": "1s"},
            "pools.default": {"destinations": ["*"], "workers": 1, "allow": [place]},
            "destinations.full": {"class": "egress_trials:Full"},
            "connections.full": {
                "source": "test",
                "destination": "full",
                "settings": {"url": sink.url},
            },
        }
    )
    post(service.url, [track("m1")])
    wait_until(lambda: "Too many open files" in last_error(service, "m1", "full"), 20, "its error")
    service.wait_for(lambda books: books["delivered_on_retry"] == 1, 20)


@pytest.mark.parametrize("abuse", ABUSES)
def test_abuse_of_the_channel_costs_only_its_worker(
    running_service: StartService, tmp_path: Path, abuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The abuser is ended with the reason, and its neighbour is served; the supervisor stays."""
    diary = tmp_path / "diary" / "lines"
    # A name server that answers at once would leave nothing to have too much of.
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    monkeypatch.setenv("BULKHEAD_NAMESERVERS", f"127.0.0.1:{silent.getsockname()[1]}")
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS], "drain_timeout": "1s"},
            "retry": {"first_delay": "10s"},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 1,
                "write_paths": [writable(diary)],
            },
            "destinations.abuser": {"class": "egress_trials:Abuser"},
            "destinations.diary": {"class": "trials:Diary"},
            "connections.bad": {
                "source": "test",
                "destination": "abuser",
                "settings": {"does": abuse},
            },
            "connections.trial": {
                "source": "test",
                "destination": "diary",
                "settings": {"path": str(diary)},
            },
        }
    )
    supervisor = psutil.Process(service.pid)
    memory, files = supervisor.memory_info().rss, supervisor.num_fds()
    post(service.url, [track("m1")])
    if abuse == "descriptors":
        # The jail lets nobody send one; where it could not, the worker would be ended.
        wait_until(lambda: "not permitted" in last_error(service, "m1", "bad"), 30, "the denial")
        assert not logged(service, "worker_exited")
    else:
        wait_until(lambda: bool(logged(service, "worker_exited")), 30, "an exit of the worker")
        end = logged(service, "worker_exited")[0]
        assert end["reason"] == ("egress" if abuse == "undeclared hosts on and on" else "protocol")
        assert end["detail"]
    post(service.url, [track("m2")])
    wait_until(
        lambda: {"m1", "m2"} <= {*diary.read_text().split()},
        30,
        "the neighbour's events",
    )
    assert supervisor.memory_info().rss < memory + 64 * 1024**2
    wait_until(lambda: supervisor.num_fds() <= files + 8, 20, "its descriptors are closed")
    silent.close()


def test_secrets_are_where_they_are_needed(running_service: StartService, tmp_path: Path) -> None:
    """A worker has the settings of its own pool's connections that it served, and no other secret.

    Looked for from outside: in environments, command lines and all that each process has written
    to its memory. That the search works is seen by what it does find.
    """
    secrets = {name: f"{name}-secret-{os.urandom(8).hex()}" for name in ("left", "right", "write")}
    diaries = {name: tmp_path / name / secrets[name] for name in ("left", "right")}

    def pool(name: str) -> dict[str, object]:
        return {
            "destinations": [name],
            "workers": 1,
            "spares": 1,
            "write_paths": [writable(diaries[name])],
        }

    def connection(name: str) -> dict[str, object]:
        return {
            "source": "guarded",
            "destination": name,
            "settings": {"path": str(diaries[name])},
        }

    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "admin": {"token": "admin-secret-of-this-test"},
            "sources.guarded": {"write_key": secrets["write"]},
            "pools.left": pool("left"),
            "pools.right": pool("right"),
            "destinations.left": {"class": "trials:Diary"},
            "destinations.right": {"class": "trials:Diary"},
            "connections.left": connection("left"),
            "connections.right": connection("right"),
        }
    )
    post(service.url, [track("m1")], write_key=secrets["write"])
    wait_until(lambda: all(diary.read_text() for diary in diaries.values()), 20, "both diaries")
    served = {line["worker"]: line["pid"] for line in logged(service, "worker_serves")}
    seen = {pid: _visible(pid) for pid in _children(service.pid)}
    found = {
        name: {pid for pid, memory in seen.items() if secret.encode() in memory}
        for name, secret in {**secrets, "admin": "admin-secret-of-this-test"}.items()
    }
    assert found == {
        "left": {served["left-1"]},
        "right": {served["right-1"]},
        "write": set(),
        "admin": set(),
    }


def _children(pid: int) -> list[int]:
    """Zygote, workers and spares."""
    found = [child.pid for child in psutil.Process(pid).children(recursive=True)]
    assert found
    return found


def _visible(pid: int) -> bytes:
    """Environment, command line and writable memory of a process."""
    process = Path(f"/proc/{pid}")
    seen = [(process / "environ").read_bytes(), (process / "cmdline").read_bytes()]
    try:
        with (process / "mem").open("rb", buffering=0) as memory:
            for line in (process / "maps").read_text().splitlines():
                span, access, *_ = line.split()
                if access.startswith("rw"):
                    start, end = (int(number, 16) for number in span.split("-"))
                    seen.append(os.pread(memory.fileno(), end - start, start))
    except PermissionError:
        pytest.skip("needs root: workers let nobody else read their memory")
    return b"\n".join(seen)
