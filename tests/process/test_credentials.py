"""Credentials that are refused, by a real partner: whose fault it is, and what waits for whom."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from dnslib import RCODE, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

from tests.conftest import StartService
from tests.harness.partner import Answer, Asked, Partner
from tests.harness.ports import free_port
from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

WITHIN_S = 60.0


def refuses_all(asked: Asked) -> Answer:
    """As a gateway does whose key was revoked."""
    return 401, {"error": "revoked"}


def takes_all(asked: Asked) -> Answer:
    """Nothing is wrong."""
    return 200, {}


def sections(partner: Partner, **more: object) -> dict[str, dict[str, object]]:
    """One connection to the partner."""
    return {
        "retry": {"window": "2s", "first_delay": "100ms", "max_delay": "500ms"},
        "pools.default": {"destinations": ["*"], "workers": 2, "allow": [partner.address]},
        "connections.hook": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": partner.url, "headers": {"X-Key": "old"}},
            **more,
        },
    }


def wait_until_held(service: RunningService) -> dict[str, Any]:  # Any: JSON
    """Its line of `/status` once it is held."""

    def is_held() -> bool:
        queue = service.queue_of("hook")
        reason: str = queue["state_reason"]
        return queue["state"] == "backing_off" and reason.startswith("credentials:")

    wait_until(is_held, WITHIN_S, "the connection is held")
    return service.queue_of("hook")


def issues(service: RunningService, kind: str) -> list[dict[str, Any]]:  # Any: JSON
    """Issues of that kind, the newest first."""
    found: list[dict[str, Any]] = service.admin(f"/issues?kind={kind}")["issues"]
    return found


def test_nothing_fails_while_a_key_is_refused(running_service: StartService) -> None:
    """Past every retry window; then one probe that passes, and all is delivered.

    While it is held nothing goes but probes, each a step after the one before.
    """
    with Partner(refuses_all) as partner:
        service = running_service(sections(partner))
        for n in range(4):
            post(service.url, [track(f"m{n}-{i}") for i in range(25)])
        queue = wait_until_held(service)
        assert "401" in queue["state_reason"]
        assert queue["credentials_refused"]
        wait_until(
            lambda: service.queue_of("hook")["inflight"] == 0,
            WITHIN_S,
            "what was under way is over",
        )
        asked = len(partner.asked)
        wait_until(
            lambda: len(partner.asked) >= asked + 3, WITHIN_S, "three probes, and windows over"
        )
        at = [one.at for one in partner.asked[asked : asked + 3]]
        assert all(later - earlier > 0.4 for earlier, later in pairwise(at)), at
        books = service.books()
        assert (books["pending"], books["failed"]) == (100, 0), books
        partner.answers = takes_all
        service.admin("/connections/hook/probe", "POST")
        service.wait_for(lambda books: books["pending"] == 0, WITHIN_S)
        books = service.books()
        assert books["failed"] == 0
        assert books["delivered_first_try"] + books["delivered_on_retry"] == 100
        assert not service.queue_of("hook")["credentials_refused"]


def test_an_event_that_is_refused_while_others_pass_fails_alone(
    running_service: StartService,
) -> None:
    """Its words may be what the receiver refuses; the others see nothing of it."""

    def refuses_one(asked: Asked) -> Answer:
        return (403, {}) if asked.json()["event"] == "Bad" else (200, {})

    with Partner(refuses_one) as partner:
        service = running_service(sections(partner))
        post(service.url, [track("bad", "Bad"), *(track(f"m{i}") for i in range(30))])
        service.wait_for(lambda books: books["pending"] == 0, WITHIN_S)
        books = service.books()
        assert (books["failed"], books["delivered_first_try"]) == (1, 30), books
        (letter,) = service.admin("/deadletters?connection=hook")["deadletters"]
        assert letter["message_id"] == "bad"
        assert "403" in letter["reason"]


def test_a_changed_secret_is_tried_at_the_reload(running_service: StartService) -> None:
    """However long the next step of back-off is; nothing else had to be said."""

    def wants_new(asked: Asked) -> Answer:
        return (200, {}) if asked.headers.get("X-Key") == "new" else (401, {})

    with Partner(wants_new) as partner:
        service = running_service(sections(partner))
        post(service.url, [track(f"m{i}") for i in range(20)])
        wait_until_held(service)
        wait_until(
            lambda: (service.queue_of("hook")["next_attempt_in_s"] or 0) > 3,
            WITHIN_S,
            "the next step is some seconds away",
        )
        text = service.config_path.read_text()
        service.config_path.write_text(text.replace('"old"', '"new"'))
        os.kill(service.pid, signal.SIGHUP)
        service.wait_for(lambda books: books["pending"] == 0, 3.0)
        assert service.books()["failed"] == 0


def test_a_hold_outlives_a_restart_and_its_backlog_is_bounded(
    running_service: StartService,
) -> None:
    """A restart asks once and goes on waiting; what is over `max_backlog` can be replayed."""
    with Partner(refuses_all) as partner:
        service = running_service(sections(partner, max_backlog="64KiB"))
        post(service.url, [track(f"m{i}") for i in range(10)])
        wait_until_held(service)
        for n in range(8):
            post(
                service.url,
                [{**track(f"n{n}-{i}"), "context": {"x": "y" * 1000}} for i in range(25)],
            )
        service.wait_for(lambda books: books["failed"] > 50, WITHIN_S)
        service.stop()
        service.start()
        assert wait_until_held(service)["credentials_refused"]
        failed = service.books()["failed"]
        (evicted,) = issues(service, "failed")
        assert (evicted["count"], evicted["open"]) == (failed, True), evicted
        assert evicted["cause"] == "evicted: the backlog was over max_backlog (<n> bytes)"
        assert "max_backlog" in evicted["action"]
        partner.answers = takes_all
        service.admin("/connections/hook/probe", "POST")
        service.wait_for(lambda books: books["pending"] == 0, WITHIN_S)
        replayed = service.command(
            "deadletters", "replay", "--connection", "hook", "--config", str(service.config_path)
        )
        assert (replayed.returncode, str(failed) in replayed.stdout) == (0, True), replayed
        # All at once they are more than the backlog holds, again.
        service.wait_for(lambda books: books["pending"] == 0 and books["failed"] < failed, WITHIN_S)


class _NoSuchName(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        reply.header.rcode = RCODE.NXDOMAIN
        return reply


@contextmanager
def no_names() -> Iterator[str]:
    """A name server that knows no name; its address."""
    server = DNSServer(_NoSuchName(), port=0, address="127.0.0.1", logger=DNSLogger("-"))
    server.start_thread()
    try:
        yield f"127.0.0.1:{server.server.server_address[1]}"
    finally:
        server.stop()
        server.server.server_close()


def test_an_unknown_host_holds_the_connection(
    running_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is not there is no event's fault, and no outage that a window is for."""
    with Partner(takes_all) as partner, no_names() as address:
        monkeypatch.setenv("BULKHEAD_NAMESERVERS", address)
        config = sections(partner)
        config["pools.default"]["network"] = "any"
        config["connections.hook"]["settings"] = {"url": f"http://nowhere.invalid:{free_port()}/"}
        service = running_service(config)
        post(service.url, [track(f"m{i}") for i in range(5)])
        assert "nowhere.invalid" in wait_until_held(service)["state_reason"]
        assert service.books()["failed"] == 0


def test_a_token_endpoint_that_refuses_is_an_issue_of_credentials(
    running_service: StartService,
) -> None:
    """Apart from retries, with each delivery that met with it, a sample and what to do about it.

    It outlives a restart, and has an end: what is refused no more is counted no more.
    """
    refused = 400, {"error": "invalid_grant", "error_description": "expired access/refresh token"}
    token = {"access_token": "access-token-number-1", "instance_url": ""}

    def org(asked: Asked) -> Answer:
        if asked.path.endswith("/token"):
            return (200, token) if is_right else refused
        return 200, [{"id": "00Q", "success": True, "errors": []} for _ in asked.json()["records"]]

    is_right = False
    with Partner(org) as partner:
        token["instance_url"] = partner.url
        config = sections(partner)
        config["connections.hook"] |= {
            "destination": "salesforce",
            "settings": {
                "client_id": "id",
                "refresh_token": "r0",
                "login_url": partner.url,
                "person_id_field": "User_Id__c",
            },
        }
        service = running_service(config)
        traits = {"email": "a@example.com", "lastName": "L", "company": "C"}
        sent: list[dict[str, object]] = [
            {"type": "identify", "userId": f"u{n}", "traits": traits} for n in range(5)
        ]
        post(service.url, sent)
        held = wait_until_held(service)
        wait_until(lambda: bool(issues(service, "credentials")), WITHIN_S, "the issue")
        (issue,) = issues(service, "credentials")
        assert (issue["connection"], issue["source"], issue["open"]) == ("hook", None, True)
        assert issue["count"] >= len(sent)
        assert "invalid_grant" in issue["cause"]
        assert "invalid_grant" in held["state_reason"]
        assert "credentials" in issue["meaning"]
        assert not issues(service, "failed")
        assert not issues(service, "retry")
        shown = service.admin(f"/issues/{issue['id']}")
        assert [one["outcome"] for one in shown["samples"]] == ["retry"] * len(shown["samples"])
        assert "invalid_grant" in shown["samples"][0]["reason"]
        service.stop()
        service.start()
        wait_until_held(service)
        wait_until(
            lambda: (
                issues(service, "credentials")[:1] != []
                and issues(service, "credentials")[0]["count"] > issue["count"]
            ),
            WITHIN_S,
            "it goes on as the same issue",
        )
        (again,) = issues(service, "credentials")
        assert (again["id"], again["first_seen"]) == (issue["id"], issue["first_seen"])
        is_right = True
        service.admin("/connections/hook/probe", "POST")
        service.wait_for(lambda books: books["pending"] == 0, WITHIN_S)
        assert service.books()["failed"] == 0
        counted = issues(service, "credentials")[0]["count"]
        post(service.url, sent)
        service.wait_for(lambda books: books["pending"] == 0, WITHIN_S)
        assert issues(service, "credentials")[0]["count"] == counted
