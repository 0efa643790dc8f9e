"""A partner that takes each refresh token once, and workers that are killed at any step of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.partner import Answer, Asked, Partner
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post

PLUGINS = str(Path(__file__).parent / "plugins")
WITHIN_S = 60.0


class Org:
    """Salesforce's part: tokens that rotate, and an upsert that wants the newest one."""

    def __init__(self) -> None:
        self.refresh_token, self.access_token = "r0", ""
        self.renewals = self.refused = 0
        self.url = ""
        self.before_answer: Callable[[], bool] = lambda: True
        """Called when it has renewed and has not said so yet; whether it will."""
        self.before_renewal: Callable[[], bool] = lambda: True
        """Called before it renews; whether it will."""
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith("/token"):
            return self._token(asked)
        with self._lock:
            if asked.headers.get("Authorization") != f"Bearer {self.access_token}":
                return 401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired"}]
        records = asked.json()["records"]
        return 200, [{"id": "00Q", "success": True, "errors": []} for _ in records]

    def _token(self, asked: Asked) -> Answer:
        if not self.before_renewal():
            return None
        with self._lock:
            if asked.form["refresh_token"] != self.refresh_token:
                self.refused += 1
                return 400, {"error": "invalid_grant", "error_description": "expired"}
            self.renewals += 1
            self.refresh_token = f"refresh-token-number-{self.renewals}"
            self.access_token = f"access-token-number-{self.renewals}"
            said = {
                "access_token": self.access_token,
                "refresh_token": self.refresh_token,
                "instance_url": self.url,
            }
        return (200, said) if self.before_answer() else None


@pytest.fixture
def org() -> Org:
    """A partner's state, to be served by `Partner`."""
    return Org()


def sections(partner: Partner, **pool: object) -> dict[str, dict[str, object]]:
    """One connection to the org."""
    return {
        "retry": {"first_delay": "100ms", "max_delay": "500ms"},
        "pools.default": {
            "destinations": ["*"],
            "workers": 2,
            "allow": [partner.address],
            **pool,
        },
        "connections.crm": {
            "source": "test",
            "destination": "salesforce",
            "max_concurrency": 8,
            "batch_events": 5,
            "settings": {
                "client_id": "id",
                "refresh_token": "r0",
                "login_url": partner.url,
                "person_id_field": "User_Id__c",
            },
        },
    }


def send(service: RunningService, prefix: str, n: int = 40) -> None:
    """Identifies, each of a user of its own."""
    post(
        service.url,
        [
            {
                "type": "identify",
                "messageId": f"{prefix}-{i}",
                "userId": f"{prefix}-{i}",
                "traits": {"email": f"{i}@example.com", "lastName": "L", "company": "C"},
            }
            for i in range(n)
        ],
    )


def wait_for_delivered(service: RunningService, n: int) -> None:
    """All of so many, and none failed."""
    service.wait_for(
        lambda books: books["delivered_first_try"] + books["delivered_on_retry"] == n, WITHIN_S
    )
    assert service.books()["failed"] == 0


def kept(service: RunningService) -> dict[str, object]:
    """The file of the only connection."""
    (file,) = (service.directory / "state" / "tokens").glob("*.json")
    found: dict[str, object] = json.loads(file.read_text())
    return found


def kill_workers(service: RunningService) -> None:
    """SIGKILL of all that serve."""
    for pid in service.worker_pids():
        with contextlib.suppress(ProcessLookupError):  # it may have just ended
            os.kill(pid, signal.SIGKILL)


def test_one_worker_renews_for_all_over_restarts(running_service: StartService, org: Org) -> None:
    """Two workers at once, access tokens that end, a restart: no token is ever sent twice."""
    with Partner(org) as partner:
        org.url = partner.url
        service = running_service(sections(partner))
        send(service, "a")
        wait_for_delivered(service, 40)
        assert (org.renewals, org.refused) == (1, 0)
        org.access_token = "revoked"
        send(service, "b")
        wait_for_delivered(service, 80)
        assert (org.renewals, org.refused) == (2, 0)
        service.stop()
        service.start()
        send(service, "c")
        wait_for_delivered(service, 120)
        assert (org.renewals, org.refused) == (2, 0), "the access token was kept as well"
        assert kept(service)["version"] == 2
        (file,) = (service.directory / "state" / "tokens").glob("*.json")
        assert file.stat().st_mode & 0o777 == 0o600
        assert "token-number" not in service.log_path.read_text()


@pytest.mark.parametrize("when", ["asked", "kept"])
def test_a_worker_that_is_killed_where_nothing_is_lost(
    running_service: StartService, org: Org, when: str
) -> None:
    """Before the partner has renewed, or after it was kept: the others go on."""
    with Partner(org) as partner:
        org.url = partner.url
        service = running_service(sections(partner))
        if when == "asked":

            def dies() -> bool:
                org.before_renewal = lambda: True
                kill_workers(service)
                return False

            org.before_renewal = dies
        send(service, "a")
        if when == "kept":
            wait_until(lambda: org.renewals == 1, WITHIN_S, "a renewal")
            wait_until(
                lambda: (
                    (service.directory / "state" / "tokens").exists()
                    and kept(service)["version"] == 1
                ),
                WITHIN_S,
                "the token is on disk",
            )
            kill_workers(service)
        wait_for_delivered(service, 40)
        assert (org.renewals, org.refused) == (1, 0)


def test_a_token_that_is_lost_between_partner_and_disk_is_said(
    running_service: StartService, org: Org
) -> None:
    """It cannot be cured: the connection is held and says why, until the config has a new one."""
    with Partner(org) as partner:
        org.url = partner.url
        service = running_service(sections(partner))

        def dies() -> bool:
            org.before_answer = lambda: True
            kill_workers(service)
            return False

        org.before_answer = dies
        send(service, "a")
        wait_until(
            lambda: "authorize the app anew" in service.queue_of("crm")["state_reason"],
            WITHIN_S,
            "the reason says what was lost",
        )
        queue = service.queue_of("crm")
        assert queue["state"] == "backing_off"
        assert queue["state_reason"].startswith("credentials:")
        assert "invalid_grant" in queue["state_reason"]
        assert service.books()["failed"] == 0
        # The doubt outlives the service.
        service.stop()
        service.start()
        wait_until(
            lambda: "authorize the app anew" in service.queue_of("crm")["state_reason"],
            WITHIN_S,
            "it says so again",
        )
        text = service.config_path.read_text()
        assert '"r0"' in text
        org.refresh_token = "r-new"
        service.config_path.write_text(text.replace('"r0"', '"r-new"'))
        os.kill(service.pid, signal.SIGHUP)
        wait_for_delivered(service, 40)


def test_the_service_that_is_killed_has_the_newest_token(
    running_service: StartService, org: Org
) -> None:
    """kill -9 of the supervisor after any renewal: the next run goes on with what was kept."""
    with Partner(org) as partner:
        org.url = partner.url
        service = running_service(sections(partner))
        for n in range(3):
            org.access_token = "over"
            send(service, f"n{n}", 10)
            wait_for_delivered(service, 10 * (n + 1))
            service.kill()
            service.start()
        assert org.refused == 0


@pytest.mark.parametrize("does", ["ask", "keep"])
def test_a_plugin_of_another_pool_gets_nothing(
    running_service: StartService, org: Org, does: str
) -> None:
    """It costs its worker its life, and the token of its victim stays what it is."""
    with Partner(org) as partner:
        org.url = partner.url
        config = sections(partner)
        config["service"] = {"plugin_paths": [PLUGINS]}
        config["pools.thieves"] = {"destinations": ["thief"], "workers": 1}
        config["destinations.thief"] = {"class": "thief:Thief"}
        config["sources.thieves"] = {"write_key": "thieves"}
        config["connections.bad"] = {
            "source": "thieves",
            "destination": "thief",
            "settings": {"victim": "crm", "does": does},
        }
        service = running_service(config)
        send(service, "a")
        wait_for_delivered(service, 40)
        before = kept(service)
        post(service.url, [{"type": "track", "event": "E", "userId": "u"}], write_key="thieves")
        wait_until(lambda: bool(service.exits(reason="protocol")), WITHIN_S, "its worker is ended")
        assert kept(service) == before
        send(service, "b")
        wait_for_delivered(service, 80)
        assert org.refused == 0


def test_a_grant_that_is_refused_makes_no_dead_letter(
    running_service: StartService, org: Org
) -> None:
    """`invalid_grant` from the first request on: all wait, and the partner is asked seldom."""
    org.refresh_token = "another"
    with Partner(org) as partner:
        org.url = partner.url
        service = running_service(sections(partner))
        send(service, "a", 72)
        wait_until(
            lambda: service.queue_of("crm")["state_reason"].startswith("credentials:"),
            WITHIN_S,
            "the connection is held",
        )
        wait_until(
            lambda: (service.queue_of("crm")["next_attempt_in_s"] or 0) > 3,
            WITHIN_S,
            "a few probes have come to nothing",
        )
        assert service.books()["pending"] == 72
        assert len(partner.asked) == org.refused < 16, "one request a probe, and no other"
        org.refresh_token = "r0"
        service.admin("/connections/crm/probe", "POST")
        wait_for_delivered(service, 72)
        assert service.books()["delivered_first_try"] == 72, "nothing of them was attempted"
