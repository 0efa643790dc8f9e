"""What was kept of values goes when a reload says that nothing may be kept, and stays away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartService
from tests.harness.partner import Answer, Asked, Partner
from tests.harness.service import RunningService, webhook_sections
from tests.harness.waiting import wait_until
from tests.process.client import post
from tests.process.test_reload import Sections, reload

WITHIN_S = 60.0
#: In which what must go at once has to be gone.
AT_ONCE_S = 5.0


@pytest.fixture
def refusing() -> Iterator[Partner]:
    """A partner that refuses each event and says it again."""

    def refuse(asked: Asked) -> Answer:
        return 400, {"error": "not like this", "given": asked.json()}

    with Partner(refuse) as partner:
        yield partner


def sections(partner: Partner, **console: object) -> Sections:
    return {**webhook_sections(partner.url), "console": console}


def send(service: RunningService, marker: str) -> None:
    """An event with a value of its own, refused."""
    failed = service.books()["failed"]
    properties = {"note": marker}
    event: dict[str, object] = {"type": "track", "userId": "ann", "event": "Ordered"}
    post(service.url, [{**event, "properties": properties}])
    service.wait_for(lambda books: books["failed"] > failed, WITHIN_S)


def shown(service: RunningService) -> list[dict[str, Any]]:  # Any: JSON
    """Samples of the issue that there is."""
    (issue,) = service.admin("/issues")["issues"]
    found: list[dict[str, Any]] = service.admin(f"/issues/{issue['id']}")["samples"]
    return found


def wait_until_shown(service: RunningService, marker: str) -> Path:
    """Its sample is there, with what was sent and answered, and on the disk."""
    file = service.directory / "state" / "samples"

    def is_whole() -> bool:
        return any(
            marker in (one["body"] or "") and marker in json.dumps([one["request"], one["answer"]])
            for one in shown(service)
        )

    wait_until(is_whole, WITHIN_S, "a sample with its request and answer")
    assert marker.encode() in file.read_bytes()
    return file


def wait_until_gone(file: Path) -> None:
    wait_until(lambda: not file.exists(), AT_ONCE_S, "the file of samples is gone")
    assert not file.with_suffix(".new").exists()


@pytest.mark.parametrize("before", ["masked", "full"])
def test_a_reload_to_no_payloads_removes_samples_at_once(
    running_service: StartService, refusing: Partner, before: str
) -> None:
    """None of their values is answered any more, none comes into being, and a reload back begins
    with none: what is kept then is of later events alone."""
    service = running_service(sections(refusing, payloads=before))
    send(service, "first-marker")
    file = wait_until_shown(service, "first-marker")
    reload(service, sections(refusing, payloads="none"))
    wait_until_gone(file)
    send(service, "second-marker")
    assert shown(service) == []
    for path in ("/tap/test", "/issues", f"/issues/{service.admin('/issues')['issues'][0]['id']}"):
        told = json.dumps(service.admin(path))
        assert "first-marker" not in told, path
        assert "second-marker" not in told, path
    assert not file.exists()
    reload(service, sections(refusing, payloads=before))
    wait_until(file.exists, WITHIN_S, "it is begun anew")
    assert shown(service) == []
    send(service, "third-marker")
    kept = wait_until_shown(service, "third-marker").read_bytes()
    assert len(shown(service)) == 1
    for marker in ("first-marker", "second-marker"):
        assert marker.encode() not in kept


def test_a_reload_that_turns_the_console_off_removes_all_that_it_kept(
    running_service: StartService, refusing: Partner
) -> None:
    """At once, and its rows answer nothing; on again, after the next start, there is nothing."""
    service = running_service(sections(refusing))
    send(service, "first-marker")
    file = wait_until_shown(service, "first-marker")
    (issue,) = service.admin("/issues")["issues"]
    reload(service, sections(refusing, enabled=False))
    wait_until_gone(file)
    for path in ("/issues", f"/issues/{issue['id']}", "/tap/test", "/schema/test", "/me"):
        for root in ("", "/console/api"):
            status, body = service.ask(root + path, WITHIN_S)
            assert status == 404, path
            assert b"first-marker" not in body
    send(service, "second-marker")
    reload(service, sections(refusing))
    assert service.ask("/issues", WITHIN_S)[0] == 404, "it is on at the next start"
    assert not file.exists()
    service.sections = sections(refusing)
    service.stop()
    service.start()
    assert service.admin("/issues")["issues"] == []
    send(service, "third-marker")
    kept = wait_until_shown(service, "third-marker").read_bytes()
    for marker in ("first-marker", "second-marker"):
        assert marker.encode() not in kept
