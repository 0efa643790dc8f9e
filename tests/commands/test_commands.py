"""Commands that talk to a running service."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from supervisor.queue import Books, DeadLetterFilter, DeliveryRecord, EventRecord, Outcome
from supervisor.telemetry.status import LeakingGroup, QueueState
from tests.admin.stubs import AT, StubControl, a_status, an_exit, queue_status
from tests.commands.conftest import Bulkhead
from tests.commands.servers import admin_app, serving

PENDING = DeliveryRecord("d1", "website-hook", "pending", None, 2, "status 502", AT, False, 4)


def test_status_shows_everything_on_a_page(bulkhead: Bulkhead, admin: str) -> None:
    """The dashboard has the pools, workers, queues, books and sandbox layers."""
    ran = bulkhead("status", "--admin", admin)
    assert ran.code == 0
    for shown in (
        *("bulkhead 1.2.3", "running", "pool default", "default-1", "4711", "20.0 MiB"),
        *("default:website-hook", "apart, until it is proven"),
        *("SIGSEGV", "website-hook", "7 accepted", "3 delivered first try"),
        *("on: rlimits", "cgroup is off: no delegated cgroup", "2 repeats dropped"),
    ):
        assert shown in ran.out


def test_queues_in_trouble_stand_first(
    bulkhead: Bulkhead, admin: str, control: StubControl
) -> None:
    """Queues are in order of what deserves a look, and calm ones are left out past twenty."""
    calm = [queue_status(f"calm-{n}") for n in range(30)]
    control.now = a_status(
        *calm,
        queue_status("slow", state=QueueState.THROTTLED, oldest_s=9.0),
        queue_status("down", state=QueueState.TRIPPED, state_reason="its \x1b[31mworker died"),
    )
    ran = bulkhead("status", "--admin", admin)
    assert ran.out.index("down") < ran.out.index("slow") < ran.out.index("calm-0")
    assert "and 12 more (--all)" in ran.out
    assert "\x1b" not in ran.out
    assert "calm-29" in bulkhead("status", "--admin", admin, "--all").out


def test_json_is_what_the_service_says(bulkhead: Bulkhead, admin: str) -> None:
    """`--json` prints the answer of the admin API, whole."""
    told = json.loads(bulkhead("status", "--admin", admin, "--json").out)
    assert told["pools"][0]["workers"][0]["pid"] == 4711


def test_exits_name_the_culprit(bulkhead: Bulkhead, admin: str, control: StubControl) -> None:
    """`--exits` lists reason, blamed connection, event and where the evidence is."""
    control.exits.add(an_exit(1, detail="blocked \x1b[31m"), "File x in f")
    ran = bulkhead("status", "--exits", "--admin", admin)
    for shown in ("timeout", "website-hook", "m5", "/debug/exits/exit-1 (with stacks)", "64.0 MiB"):
        assert shown in ran.out
    assert "\x1b" not in ran.out
    told = json.loads(bulkhead("status", "--exits", "--json", "--admin", admin).out)
    assert told["exits"][0]["id"] == "exit-1"


def test_exits_name_what_was_imported(bulkhead: Bulkhead, admin: str, control: StubControl) -> None:
    """Where a worker ended before it had any connection, its destination is shown."""
    control.exits.add(an_exit(1, connection=None, destination="slow", event=None), "")
    ran = bulkhead("status", "--exits", "--admin", admin)
    assert "destination slow" in " ".join(ran.out.split())


def test_status_says_who_is_in_question_for_a_leak(
    bulkhead: Bulkhead, admin: str, control: StubControl
) -> None:
    """A group of which some leak is named with its pool, the first of its members."""
    (pool,) = control.now.pools
    group = LeakingGroup(["a", "b", "c", "d", "e", "f"], 2048.0)
    control.now = msgspec.structs.replace(
        control.now, pools=[msgspec.structs.replace(pool, leaks_together=[group])]
    )
    ran = bulkhead("status", "--admin", admin)
    text = "some of a, b, c, d, e and 1 more leak 2.0 KiB an event, unknown which"
    assert text in " ".join(ran.out.split())


def test_watch_is_for_a_terminal(bulkhead: Bulkhead, admin: str) -> None:
    """`--watch` into a file is wrong usage."""
    assert bulkhead("status", "--admin", admin, "--watch").code == 2


def test_a_unix_socket_is_an_address(
    bulkhead: Bulkhead, control: StubControl, tmp_path: Path
) -> None:
    """`--admin unix:PATH` reaches a service that listens on a UNIX socket."""
    with serving(admin_app(control), str(tmp_path / "admin.sock")) as address:
        assert bulkhead("status", "--admin", address).code == 0


def test_the_token_is_passed_on(
    bulkhead: Bulkhead, control: StubControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token comes from --token or the environment; without it the error says so."""
    with serving(admin_app(control, "s3cret")) as address:
        refused = bulkhead("status", "--admin", address)
        assert refused.code == 1
        assert "BULKHEAD_ADMIN_TOKEN" in refused.err
        assert bulkhead("status", "--admin", address, "--token", "s3cret").code == 0
        monkeypatch.setenv("BULKHEAD_ADMIN_TOKEN", "s3cret")
        assert bulkhead("status", "--admin", address).code == 0


def test_address_and_token_come_from_the_config(
    bulkhead: Bulkhead, control: StubControl, tmp_path: Path
) -> None:
    """`--config` alone is enough to reach the service that runs with it."""
    with serving(admin_app(control, "s3cret")) as address:
        config = tmp_path / "bulkhead.toml"
        config.write_text(
            '[service]\nstate_dir = "state"\n'
            f'[admin]\nlisten = "{address.removeprefix("http://")}"\ntoken = "s3cret"\n'
        )
        ran = bulkhead("status", "--config", str(config))
    assert (ran.code, ran.err) == (0, "")


def test_a_pending_delivery_is_explained(
    bulkhead: Bulkhead, admin: str, control: StubControl
) -> None:
    """`explain` says how often it was tried, what went wrong and what it waits for."""
    control.stub_queue.records = [EventRecord("m-1", "website", AT, [PENDING])]
    ran = bulkhead("explain", "m-1", "--admin", admin)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "m-1 from website, received 2026-01-31T13:00:00.000Z",
        "  website-hook  pending, 2 attempts so far; waiting for its rate limit; "
        "next attempt at 2026-01-31T13:00:00.000Z",
        "                last error: status 502",
    ]


@pytest.mark.parametrize(
    ("outcome", "attempts", "told"),
    [
        (Outcome.DELIVERED, 1, "delivered on the first try"),
        (Outcome.DELIVERED, 3, "delivered on retry, attempt 3"),
        (Outcome.FAILED, 1, "failed after 1 attempt"),
        (Outcome.UNSUPPORTED, 0, "unsupported"),
        (Outcome.FILTERED, 0, "filtered"),
        (Outcome.QUARANTINED, 2, "quarantined after 2 attempts: it kills its worker"),
    ],
)
def test_every_outcome_has_words(
    bulkhead: Bulkhead,
    admin: str,
    control: StubControl,
    outcome: Outcome,
    attempts: int,
    told: str,
) -> None:
    """Each way for a delivery to end is told in words."""
    ended = msgspec.structs.replace(PENDING, state="finished", outcome=outcome, attempts=attempts)
    control.stub_queue.records = [EventRecord("m/1", "website", AT, [ended])]
    assert told in bulkhead("explain", "m/1", "--admin", admin).out


def test_an_unknown_event_is_an_error(bulkhead: Bulkhead, admin: str) -> None:
    """A message id that nobody knows is exit 1, with what that may mean."""
    ran = bulkhead("explain", "nobody", "--admin", admin)
    assert ran.code == 1
    assert "never accepted" in ran.err


def test_dead_letters_are_listed(bulkhead: Bulkhead, admin: str, control: StubControl) -> None:
    """`deadletters list` shows a page, passes its filters on, and names the next page."""
    ran = bulkhead(
        *("deadletters", "list", "--admin", admin, "--limit", "2", "--error", "400"),
        *("--since", "2026-01-31T13:00:00Z", "--outcome", "failed"),
    )
    assert ran.code == 0
    assert "letter-3" in ran.out
    assert "letter-1" not in ran.out
    assert "--after letter-2" in ran.out
    where, _, _ = control.stub_queue.listed[0]
    assert where == DeadLetterFilter(outcome=Outcome.FAILED, error="400", since=AT)


def test_a_dead_letter_is_shown_with_its_event(bulkhead: Bulkhead, admin: str) -> None:
    """`deadletters show` prints the reason and the event."""
    ran = bulkhead("deadletters", "show", "letter-1", "--admin", admin)
    assert "status 400" in ran.out
    assert '"Bought"' in ran.out
    assert bulkhead("deadletters", "show", "letter-9", "--admin", admin).code == 1


def test_replay_and_drop_tell_what_they_did(
    bulkhead: Bulkhead, admin: str, control: StubControl
) -> None:
    """A dry run changes nothing and says how many match; a real one says what was done."""
    dry = bulkhead(*("deadletters", "replay", "--admin", admin, "--connection", "c", "--dry-run"))
    assert "3 match" in dry.out
    real = bulkhead("deadletters", "replay", "--admin", admin, "--id", "a", "--id", "b")
    assert "3 matched, 2 replayed" in real.out
    assert "does not have" in real.err
    assert "3 dropped" in bulkhead("deadletters", "drop", "--admin", admin, "--yes").out
    assert control.stub_queue.asked == [
        ("replay", DeadLetterFilter(connection="c"), True),
        ("replay", DeadLetterFilter(ids=("a", "b")), False),
        ("drop", DeadLetterFilter(), False),
    ]


@pytest.mark.parametrize("value", ["yesterday", "2026-01-31", "5w"])
def test_a_wrong_time_is_wrong_usage(bulkhead: Bulkhead, admin: str, value: str) -> None:
    """A time that is none, or names no zone, is exit 2 and says how to write one."""
    ran = bulkhead("deadletters", "list", "--admin", admin, "--since", value)
    assert ran.code == 2
    assert "30m, 2h, 7d" in ran.err


def test_audit_online_balances(bulkhead: Bulkhead, admin: str) -> None:
    """`audit --admin` prints the books of the running service and is content."""
    ran = bulkhead("audit", "--admin", admin)
    assert ran.code == 0
    assert "the books balance" in ran.out


def test_audit_finds_what_is_lost(bulkhead: Bulkhead, admin: str, control: StubControl) -> None:
    """Books that do not balance are exit 1, with the connection and the difference."""
    control.stub_queue.books_now = Books(accepted=5, delivered_first_try=3)
    ran = bulkhead("audit", "--admin", admin)
    assert ran.code == 1
    assert "website-hook is off by -2" in ran.err


def test_connections_and_workers_are_handled(
    bulkhead: Bulkhead, admin: str, control: StubControl
) -> None:
    """pause, resume, probe and recycle reach the service."""
    for action in ("pause", "resume", "probe"):
        assert bulkhead(action, "website-hook", "--admin", admin).code == 0
    assert bulkhead("recycle", "default-1", "--admin", admin).code == 0
    assert [what for what, _ in control.done] == ["pause", "resume", "probe", "recycle"]
    unknown = bulkhead("pause", "nope", "--admin", admin)
    assert (unknown.code, unknown.err) == (1, "there is no 'nope'; there is website-hook\n")
