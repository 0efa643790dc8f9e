"""Samples that a worker makes up: what is none costs it its life, what is one shows no secret and
nothing of anybody else."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest

from tests.conftest import StartService
from tests.harness.partner import Answer, Asked, Partner
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.plugins.forger_of_samples import HOSTILE_TEXT, LIES, WELL_FORMED, forms_of

PLUGINS = str(Path(__file__).parent / "plugins")
WITHIN_S = 90.0
SECRET = 'Zq7/"pz+Kw9&vL m3é'  # of no partner
TOKENS = {"operator": "operator-token-4711", "viewer": "viewer-token-471147"}


@pytest.fixture
def refusing() -> Iterator[Partner]:
    """The neighbour's partner refuses each event."""

    def refuse(asked: Asked) -> Answer:
        return 400, {"error": "the-neighbours-own"}

    with Partner(refuse) as partner:
        yield partner


def sections(folder: Path, partner: Partner, says: dict[str, str]) -> dict[str, dict[str, object]]:
    """A forger for each, by connection, each in a pool of its own, and a neighbour beside them."""
    for name, text in (*TOKENS.items(), ("secret", SECRET)):
        (folder / name).write_text(text)
    found: dict[str, dict[str, object]] = {
        "service": {"plugin_paths": [PLUGINS]},
        "admin": {
            "token": {"file": str(folder / "operator")},
            "view_token": {"file": str(folder / "viewer")},
        },
        "retry": {"first_delay": "200ms", "max_delay": "1s"},
        "sources.other": {"write_key": "other-key"},
        "pools.good": {"destinations": ["webhooks"], "allow": [partner.address], "workers": 1},
        "connections.good": {
            "source": "test",
            "destination": "webhooks",
            "settings": {
                "url": partner.url,
                "shared_secret": {"file": str(folder / "secret")},
                "headers": {"X-Whose": "the-neighbours-own"},
            },
        },
    }
    for name, what in says.items():
        found |= {
            f"pools.{name}": {"destinations": [name], "workers": 1, "spares": 0},
            f"destinations.{name}": {"class": "forger_of_samples:ForgerOfSamples"},
            f"connections.{name}": {
                "source": "other",
                "destination": name,
                "settings": {"says": what, "knows": SECRET},
            },
        }
    return found


def ask(service: RunningService, path: str, role: str = "operator") -> bytes:
    """The body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKENS[role]}"})
        answer = connection.getresponse()
        assert answer.status == 200, path
        return answer.read()
    finally:
        connection.close()


def samples_of(service: RunningService) -> dict[str, list[dict[str, Any]]]:
    """Samples of all issues, by connection. Any: JSON."""
    found: dict[str, list[dict[str, Any]]] = {}
    for issue in json.loads(ask(service, "/issues"))["issues"]:
        of = found.setdefault(issue["connection"], [])
        of += json.loads(ask(service, f"/issues/{issue['id']}"))["samples"]
    return found


def require_the_neighbour_alone(service: RunningService) -> None:
    """What is shown of it is what it did, and its own."""

    def answers() -> list[int]:
        # An attempt that got none, on a busy machine, has a sample as well.
        found = [sample["answer"] for sample in samples_of(service).get("good", [])]
        return [answer["status"] for answer in found if answer is not None]

    wait_until(lambda: bool(answers()), WITHIN_S, "the neighbour's sample")
    assert set(answers()) == {400}
    for sample in samples_of(service)["good"]:
        assert "forged" not in json.dumps(sample)
        assert sample["message_id"].startswith("good")


def test_a_sample_that_is_none_costs_only_its_worker(
    running_service: StartService, open_folder: Path, refusing: Partner
) -> None:
    """Of what it does not have, larger than it may be, no text, or too many: nothing is kept of it.

    The service goes on, no larger than before, and shows of others what they did.
    """
    says = {f"forger{n}": lie for n, lie in enumerate(LIES)}
    service = running_service(sections(open_folder, refusing, says))
    memory = psutil.Process(service.pid).memory_info().rss
    post(service.url, [track(f"good{n}") for n in range(3)])
    post(service.url, [track("bad")], write_key="other-key")

    def ends() -> dict[str, str]:
        found = json.loads(ask(service, "/debug/exits?reason=protocol&limit=1000"))["exits"]
        return {end["pool"]: end["detail"] for end in found}

    def without_end() -> list[str]:
        return [lie for name, lie in says.items() if name not in ends()]

    wait_until(lambda: not without_end(), WITHIN_S, "each is ended for it")
    assert all(ends().values())
    post(service.url, [track(f"good-after{n}") for n in range(3)])
    require_the_neighbour_alone(service)
    told = samples_of(service)
    assert "forged" not in json.dumps(told)
    assert all(sample["request"] is None for name in says for sample in told.get(name, ()))
    queues = json.loads(ask(service, "/status"))["queues"]
    (blame,) = [queue["blame"] for queue in queues if queue["connection"] == "good"]
    assert blame["worker_deaths"] == 0
    assert psutil.Process(service.pid).memory_info().rss < memory + 64 * 1024**2
    assert (service.directory / "state" / "samples").stat().st_size < 512 * 1024


def test_a_sample_that_is_made_up_shows_no_secret_and_no_more_than_one(
    running_service: StartService, open_folder: Path, refusing: Partner
) -> None:
    """Whatever fields it fills: of a viewer nothing is seen, and for an operator it is text."""
    says = {f"forger{n}": what for n, what in enumerate(WELL_FORMED)}
    service = running_service(sections(open_folder, refusing, says))
    post(service.url, [track("good")])
    post(service.url, [track("bad")], write_key="other-key")
    wait_until(
        lambda: all(samples_of(service).get(name) for name in says), WITHIN_S, "each has a sample"
    )
    require_the_neighbour_alone(service)
    told = samples_of(service)
    for name, what in says.items():
        (sample,) = told[name]
        assert sample["request"] is not None, what
        assert (sample["connection"], sample["message_id"]) == (name, "bad")
    for issue in json.loads(ask(service, "/issues"))["issues"]:
        path = f"/issues/{issue['id']}"
        _require_no_secret(ask(service, path), path)
        seen = ask(service, path, "viewer")
        assert b"forged" not in seen
        assert HOSTILE_TEXT[:8].encode() not in seen
        assert all(one["request"] is None for one in json.loads(seen)["samples"])
    service.stop()
    for file in (service.directory / "state").rglob("*"):
        if file.is_file():
            _require_no_secret(file.read_bytes(), str(file))
    _require_no_secret(service.log_path.read_bytes(), "the log")


def _require_no_secret(told: bytes, where: str) -> None:
    text = told.decode(errors="replace")
    for form in forms_of(SECRET):
        # Of base64, what is sure to be of the secret alone.
        inner = form[4:-4]
        assert inner not in text, (where, form)
        assert inner not in unquote(text), (where, form)
