"""What the config file on disk would change is told before it is followed, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import StartService
from tests.console.asking import SLOW_S, ask, done
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track

Sections = dict[str, dict[str, object]]
SECRET = "s3cr3t-of-nobody"


def base(sink: SinkProcess) -> Sections:
    """Two connections in a pool of one worker."""
    address = sink.url.removeprefix("http://").rstrip("/")
    return {
        "pools.default": {"destinations": ["*"], "allow": [address], "workers": 1, "spares": 0},
        "connections.hook": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": sink.url, "headers": {"X-Team": "growth"}},
        },
        "connections.other": {
            "source": "test",
            "destination": "webhooks",
            "settings": {"url": sink.url},
        },
    }


def rewritten(service: RunningService, sections: Sections) -> None:
    """The file says something else now."""
    service.sections = sections
    service.write_config()


def test_a_plan_names_what_would_change_and_a_reload_does_it(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Names of pools, connections, sources and keys, what is pending of what goes, and no value."""
    service = running_service(base(sink))
    told = done(service, "GET", "/plan")
    assert (told["differs"], told["errors"]) == (False, [])
    done(service, "POST", "/connections/other/pause")
    post(service.url, [track(f"m{n}") for n in range(7)])
    sections = base(sink)
    del sections["connections.other"]
    sections["connections.new"] = {**sections["connections.hook"], "weight": 2}
    sections["connections.hook"] = {
        **sections["connections.hook"],
        "linger": "80ms",
        "settings": {"url": sink.url, "headers": {"X-Team": SECRET}},
    }
    sections["pools.default"]["memory_limit"] = "300MiB"
    sections["pools.hooks"] = {"destinations": ["mixpanel"]}
    sections["sources.shop"] = {"write_key": SECRET}
    sections["retry"] = {"window": "1h"}
    sections["queue"] = {"max_pending": "1GiB"}
    rewritten(service, sections)
    told = done(service, "GET", "/plan")
    changes = {
        "pools": {"replaced": ["default"], "new": ["hooks"], "gone": [], "retuned": []},
        "connections": {
            "new": ["new"],
            "changed": [{"name": "hook", "keys": ["settings.headers", "linger"]}],
            "gone": [{"name": "other", "pending": 7}],
        },
        "sources": {"new": ["shop"], "changed": [], "gone": []},
        "sections": [{"name": "retry", "keys": ["window"]}],
        "is_code_changed": False,
    }
    (restart,) = told.pop("needs_restart")
    assert restart.startswith("queue.max_pending")
    assert told.pop("read_at")
    assert told == {"differs": True, "errors": [], **changes}
    assert SECRET not in json.dumps(told)
    outcome = done(service, "POST", "/reload")
    assert outcome["changes"].pop("needs_restart") == [restart]
    assert outcome == {"reloaded": True, "errors": [], "changes": changes}
    after = done(service, "GET", "/plan")
    # The size of the queue waits for a restart, whatever is reloaded.
    assert after["needs_restart"] == [restart]
    assert [q["connection"] for q in service.admin("/status")["queues"]] == ["hook", "new"]
    assert service.metric("bulkhead_config_reload_success") == 1
    activity = done(service, "GET", "/activity")["activity"]
    assert [one["action"] for one in activity] == ["reload", "pause"]


def errors_of(service: RunningService, text: str) -> list[str]:
    """What a plan says of such a file; a reload says the same, and changes nothing."""
    service.config_path.write_text(text)
    planned = done(service, "GET", "/plan")
    assert planned["differs"]
    reloaded = done(service, "POST", "/reload")
    assert not reloaded["reloaded"]
    assert reloaded["errors"] == planned["errors"]
    errors: list[str] = planned["errors"]
    return errors


def test_a_file_that_is_wrong_is_told_without_its_secrets(
    running_service: StartService, sink: SinkProcess, tmp_path: Path
) -> None:
    """Each error says where; none shows a secret, a setting, or a line of what is no TOML."""
    service = running_service(base(sink))
    good = service.config_path.read_text()
    (syntax,) = errors_of(service, f"{good}\npassword = {SECRET} = {SECRET}\n")
    assert syntax.startswith(f"{service.config_path}:")
    assert syntax.endswith(": is not TOML")
    (no_config,) = errors_of(service, f"root:x:0:0:{SECRET}\n")
    assert no_config.endswith(":1:5: is not TOML")
    missing = tmp_path / "not-there"
    found = errors_of(
        service,
        good.replace(json.dumps(sink.url), f'{{ file = "{missing}" }}').replace(
            "[admin]", "[admin]\ntoken = 1234567"
        )
        + f"\n[sources.shop]\nwrite_keys = '{SECRET}'\n",
    )
    said = "\n".join(found)
    assert f"names no file: {missing}" in said
    assert 'sources.shop.write_keys: is "(hidden)"' in said
    refused = "\n".join(errors_of(service, good.replace(json.dumps(sink.url), json.dumps(SECRET))))
    assert "connections.hook.settings" in refused
    for error in (*found, syntax, no_config, refused):
        assert SECRET not in error
        assert "1234567" not in error
    assert service.metric("bulkhead_config_reload_success") == 0
    service.config_path.write_text(good)
    assert done(service, "GET", "/plan")["differs"] is False
    assert done(service, "POST", "/reload")["reloaded"]
    assert service.metric("bulkhead_config_reload_success") == 1


def test_overview_tells_whether_the_file_differs(
    running_service: StartService, sink: SinkProcess
) -> None:
    """By its content, without reading what it means; a plan that changes nothing settles it."""
    service = running_service(base(sink))

    def differs() -> bool:
        told: bool = done(service, "GET", "/overview")["plan_differs"]
        return told

    assert not differs()
    good = service.config_path.read_text()
    service.config_path.write_text("nonsense\n")
    wait_until(differs, SLOW_S, "it differs")
    service.config_path.write_text(f"# the same, with a remark\n{good}")
    assert done(service, "GET", "/plan")["differs"] is False
    wait_until(lambda: not differs(), SLOW_S, "it is the same again")
    service.config_path.write_text(good.replace("growth", "sales"))
    wait_until(differs, SLOW_S, "it differs again")
    assert done(service, "POST", "/reload")["reloaded"]
    assert not differs()


def test_one_plan_at_a_time(running_service: StartService, sink: SinkProcess) -> None:
    """A plan has workers declare destinations: whoever else asks meanwhile is told to wait."""
    from concurrent.futures import ThreadPoolExecutor

    service = running_service(base(sink))
    rewritten(service, {**base(sink), "retry": {"window": "2h"}})
    with ThreadPoolExecutor(8) as pool:
        answers: list[tuple[int, Any]] = list(
            pool.map(lambda _: ask(service, "GET", "/plan"), range(8))
        )
    statuses = [status for status, _ in answers]
    assert 200 in statuses
    assert set(statuses) <= {200, 409}
    assert all(told["error"] == "busy" for status, told in answers if status == 409)


def test_reload_by_command(running_service: StartService, sink: SinkProcess) -> None:
    """`bulkhead reload` prints what changed and exits 0, or the errors and exits 1."""
    service = running_service(base(sink))
    sections = base(sink)
    sections["connections.third"] = {**sections["connections.hook"]}
    rewritten(service, sections)
    admin = ("--admin", f"http://127.0.0.1:{service.admin_port}")
    ran = service.command("reload", *admin)
    assert ran.returncode == 0, ran
    assert "third" in ran.stdout
    again = service.command("reload", *admin)
    assert (again.returncode, again.stdout) == (0, "nothing changed\n")
    service.config_path.write_text("nonsense\n")
    refused = service.command("reload", *admin)
    assert refused.returncode == 1
    assert "is not TOML" in refused.stderr
    as_json = service.command("reload", "--json", *admin)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["reloaded"] is False


def test_a_signal_and_a_request_are_one_reload_after_the_other(
    running_service: StartService, sink: SinkProcess
) -> None:
    """A request's answer is of a reload that began after it, whatever is under way."""
    import os
    import signal

    service = running_service(base(sink))
    for number in range(3):
        sections = base(sink)
        sections["connections.hook"]["weight"] = number + 2
        rewritten(service, sections)
        os.kill(service.pid, signal.SIGHUP)
        done(service, "POST", "/reload")
        assert done(service, "GET", "/plan")["differs"] is False
    wait_until(lambda: done(service, "GET", "/plan")["differs"] is False, SLOW_S, "it is settled")
