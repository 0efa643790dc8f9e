"""The plan says what would run where, under which limits, and what would be lost."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from supervisor.catalog.declaration import Declaration
from supervisor.commands.plan_tables import renderables
from supervisor.config import Config, load
from supervisor.dryrun.check_report import CheckReport, Orphan, orphan_text, plan

CONFIG = """
[pools.default]
memory_limit = "300MiB"
[pools.hooks]
destinations = ["webhooks"]
allow = ["127.0.0.1:9000"]
[pools.idle]
destinations = ["own"]
[sources.web]
write_key = "k"
[sources.app]
write_key = "l"
[connections.hook]
source = "web"
destination = "webhooks"
settings = { url = "https://user:pass-word@hooks.example:8443/secret-path" }
enabled = false
[connections.hidden]
source = "web"
destination = "webhooks"
settings = { url = { env = "URL" } }
batch_events = 7
[connections.mix]
source = "web"
destination = "mixpanel"
batch_events = 5000
rate_limit = "500/s"
[destinations.own]
class = "own:Own"
"""
SAID = {
    "webhooks": Declaration(
        destination="webhooks",
        types=frozenset({"track", "identify"}),
        hosts=("{url}",),
        batch_events=50,
        batch_bytes=2048,
    ),
    "mixpanel": Declaration(
        destination="mixpanel",
        types=frozenset({"track"}),
        hosts=("api.mixpanel.com",),
        batch_events=2000,
        batch_bytes=2_000_000,
    ),
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "b.toml"
    path.write_text(CONFIG)
    return load(
        path, environ={"URL": "https://pass-word.example"}, builtin={"webhooks", "mixpanel"}
    )


def shown(found: CheckReport) -> str:
    console = Console(file=io.StringIO(), width=200)
    for part in renderables(found):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_connections(config: Config) -> None:
    """Each connection has its pool, and the smaller of its own and its destination's batches."""
    hook, hidden, mix = plan(config, SAID).connections
    assert (hook.pool, hidden.pool, mix.pool) == ("hooks", "hooks", "default")
    assert (hook.batch_events, hidden.batch_events, mix.batch_events) == (50, 7, 2000)
    assert (hook.batch_bytes, mix.batch_bytes) == (2048, 2_000_000)
    assert (hook.enabled, hidden.enabled) == (False, True)
    assert hook.types == ("identify", "track")
    assert mix.hosts == ("api.mixpanel.com",)
    assert mix.rate_limit == 500


def test_hosts_in_settings(config: Config) -> None:
    """A host in a setting is filled in, without the rest of its URL, and not if it is secret."""
    hook, hidden, _ = plan(config, SAID).connections
    assert hook.hosts == ("hooks.example:8443",)
    assert hidden.hosts == ("{url}",)


def test_pools(config: Config) -> None:
    """Each pool has the destinations that its connections use, and its limits."""
    default, hooks, idle = plan(config).pools
    assert (default.destinations, hooks.destinations) == (("mixpanel",), ("webhooks",))
    assert idle.destinations == ()
    assert default.memory_soft_limit == 225 * 1024**2
    assert hooks.allow == ("127.0.0.1:9000",)


def test_not_asked(config: Config) -> None:
    """Where no destination was asked, what only it can say is left open."""
    found = plan(config)
    assert found.is_runnable
    hook, hidden, _ = found.connections
    assert (hook.types, hook.hosts, hook.batch_events) == (None, None, None)
    assert hidden.batch_events == 7


def test_problems(config: Config) -> None:
    """A destination that could not be loaded, and settings that it refuses, are named."""
    found = plan(
        config,
        {"webhooks": SAID["webhooks"]},
        broken={"mixpanel": "SyntaxError: line 3"},
        settings_errors={"hook": ["url: not https"]},
    )
    assert not found.is_runnable
    assert "connections.mix: mixpanel: SyntaxError: line 3" in shown(found)
    assert "connections.hook: settings.url: not https" in shown(found)


def test_orphans(config: Config) -> None:
    """What is queued for a connection that the config no longer has is counted as lost to it."""
    found = plan(config, queued={"old": 3, "mix": 5, "gone": 0})
    assert found.orphans == (Orphan(connection="old", pending=3),)
    assert orphan_text(found.orphans[0]).startswith(
        "3 pending deliveries of old would become dead letters: "
    )
    assert "3 pending deliveries of old" in shown(found)


def test_notes(config: Config) -> None:
    """What is valid and likely a slip is noted."""
    assert [note.partition(":")[0] for note in plan(config, SAID).notes] == [
        "sources.app",
        "pools.idle",
        "connections.mix.batch_events",
    ]


def test_text_and_json(config: Config) -> None:
    """A plan is a table for people and JSON for programs, both without secrets or controls."""
    found = plan(
        config,
        SAID,
        broken={"mixpanel": "\x1b[31mred"},
        settings_errors={"hidden": ["url: https://pass-word.example is no webhook"]},
        layers={"landlock": "on", "seccomp": "kernel says \x1b no"},
    )
    assert "\x1b" not in shown(found)
    assert "landlock" in shown(found)
    assert msgspec.json.decode(msgspec.json.encode(found), type=CheckReport) == found
    assert "url: [secret] is no webhook" in shown(found)
    for text in (shown(found), msgspec.json.encode(found).decode()):
        assert "pass-word" not in text
        assert "secret-path" not in text
