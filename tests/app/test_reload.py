"""A reload touches what changed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.app.reload import Changes, changes, require_apart
from supervisor.config import Config, ConfigError, load

BASE = """
[service]
state_dir = "state"
plugin_paths = ["plugins"]
[pools.default]
workers = 2
[pools.hooks]
destinations = ["webhooks"]
[sources.web]
write_key = "k"
[connections.hook]
source = "web"
destination = "webhooks"
settings = { url = "https://a" }
[connections.mix]
source = "web"
destination = "mixpanel"
[destinations.own]
class = "own:Own"
"""

Parse = Callable[[str], Config]


@pytest.fixture
def parse(tmp_path: Path) -> Parse:
    (tmp_path / "plugins").mkdir()

    def parse_text(text: str) -> Config:
        path = tmp_path / "b.toml"
        path.write_text(text)
        return load(path, environ={}, builtin={"webhooks", "mixpanel"})

    return parse_text


def summary(found: Changes) -> dict[str, tuple[str, ...]]:
    """The fields that are not empty."""
    return {
        field: getattr(found, field)
        for field in found.__struct_fields__
        if field != "config" and getattr(found, field)
    }


def test_same(parse: Parse) -> None:
    """The same file again changes nothing."""
    assert changes(parse(BASE), parse(BASE)).is_empty


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("workers = 2", "workers = 3", {"pools_retuned": ("default",)}),
        ("workers = 2", "spares = 0", {"pools_retuned": ("default",)}),
        ("workers = 2", 'batch_timeout = "5s"', {"pools_retuned": ("default",)}),
        ("workers = 2", 'memory_limit = "300MiB"', {"pools_replaced": ("default",)}),
        ("workers = 2", 'network = "any"', {"pools_replaced": ("default",)}),
        ("workers = 2", 'allow = ["a:1"]', {"pools_replaced": ("default",)}),
        ("[sources.web]", '[sandbox]\nproxy = "http://p:1"\n[sources.web]',
         {"pools_replaced": ("default", "hooks")}),
        ('plugin_paths = ["plugins"]', "", {"pools_replaced": ("default", "hooks")}),
        # Nothing runs `own`, so its class is nobody's business.
        ("own:Own", "own:Other", {}),
        ("https://a", "https://b", {"connections_reconfigured": ("hook",)}),
        ('destination = "mixpanel"', 'destination = "mixpanel"\nweight = 2',
         {"connections_retuned": ("mix",)}),
        ('destination = "mixpanel"', 'destination = "mixpanel"\nenabled = false',
         {"connections_retuned": ("mix",)}),
        ('destination = "mixpanel"', 'destination = "own"',
         {"connections_reconfigured": ("mix",), "pools_replaced": ("default",)}),
        ("[connections.mix]", "[connections.mix2]",
         {"connections_added": ("mix2",), "connections_removed": ("mix",)}),
        ("[pools.hooks]", "[pools.posts]",
         {"pools_added": ("posts",), "pools_removed": ("hooks",)}),
        # The last connection of a pool's destination moves away.
        ('destinations = ["webhooks"]', 'destinations = ["own"]',
         {"pools_replaced": ("default", "hooks")}),
        ('write_key = "k"', 'write_key = "l"', {}),
    ],
)  # fmt: skip
def test_touched(
    parse: Parse, before: str, after: str, expected: dict[str, tuple[str, ...]]
) -> None:
    """Each change touches the pools and connections that it is about."""
    assert before in BASE
    assert summary(changes(parse(BASE), parse(BASE.replace(before, after)))) == expected


def test_changed_code(parse: Parse) -> None:
    """Other code replaces the pool that runs it, and no other."""
    found = changes(parse(BASE), parse(BASE), changed_code={"webhooks"})
    assert summary(found) == {"pools_replaced": ("hooks",)}


def test_needs_restart(parse: Parse) -> None:
    """What waits for the next start is said, and stays as it is until then."""
    old = parse(BASE)
    new = parse(
        BASE.replace('"state"', '"other"')
        + '[api]\nlisten="127.0.0.1:1"\nmax_event="16KiB"\n[admin]\nlisten="127.0.0.1:2"\n'
        + '[queue]\nmax_pending="1GiB"\ndedupe_window="1h"\n'
    )
    found = changes(old, new)
    assert [notice.partition(": ")[0] for notice in found.needs_restart] == [
        "service.state_dir",
        "api.listen",
        "admin.listen",
        "queue.max_pending, queue.dedupe_window",
    ]
    assert found.config.service == old.service
    assert found.config.api.listen == old.api.listen
    assert found.config.api.max_event == 16 * 1024
    assert found.config.queue == old.queue


def test_paths_are_judged_by_the_state_that_stays_in_use(parse: Parse, tmp_path: Path) -> None:
    """The file names another state directory, and gives the present one to workers."""
    (tmp_path / "state").mkdir()
    old = parse(BASE)
    moved = BASE.replace('"state"', '"other"')
    assert require_apart(old, parse(moved)).service == old.service
    for given in (
        moved.replace("workers = 2", 'workers = 2\nwrite_paths = ["state"]'),
        moved.replace('["plugins"]', '["plugins", "state"]'),
    ):
        with pytest.raises(ConfigError, match=r"service\.state_dir \("):
            require_apart(old, parse(given))


def test_token_stays(parse: Parse) -> None:
    """The admin API never loses its token while it listens where others can reach it."""
    old = parse(BASE + '[admin]\nlisten="0.0.0.0:9190"\ntoken="t"')
    assert changes(old, parse(BASE)).config.admin == old.admin
