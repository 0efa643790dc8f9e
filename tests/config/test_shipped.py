"""The files in `config/` agree with the loader, and with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from supervisor.config import ConfigError, load, sections

FOLDER = Path(__file__).parents[2] / "config"
BUILTIN = frozenset({"mixpanel", "webhooks"})
#: Where systemd puts the secrets of the shipped unit.
CREDENTIALS = "/run/credentials/bulkhead.service/"


def test_demonstration() -> None:
    """The smallest config needs nothing but itself."""
    demo = load(FOLDER / "bulkhead.toml", environ={}, builtin=BUILTIN)
    assert demo.service.state_dir.resolve() == FOLDER.parent / "state"
    assert demo.sources["demo"].write_keys == ("demo-write-key",)
    assert demo.connections["demo-webhook"].settings == {"url": "http://127.0.0.1:9000/"}
    assert demo.pools["default"].allow == ("127.0.0.1:9000",)


def test_production_example(tmp_path: Path) -> None:
    """The production example is valid where its secrets are, and shows the defaults."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    text = (FOLDER / "example-production.toml").read_text()
    for name in set(re.findall(f"{CREDENTIALS}([a-z-]+)", text)):
        (secrets / name).write_text(f"value of {name}")
    (tmp_path / "b.toml").write_text(text.replace(CREDENTIALS, "secrets/"))
    (tmp_path / "empty.toml").write_text("")
    example = load(tmp_path / "b.toml", environ={}, builtin=BUILTIN)
    empty = load(tmp_path / "empty.toml", environ={}, builtin=BUILTIN)
    assert (example.service, example.api) == (empty.service, empty.api)
    assert (example.queue, example.retry) == (empty.queue, empty.retry)
    assert example.pools["default"] == empty.pools["default"]
    assert example.admin.listen == empty.admin.listen
    assert len(example.secrets) == 6


def test_production_example_without_secrets() -> None:
    """Without its secrets, nothing else is wrong with the production example."""
    with pytest.raises(ConfigError) as caught:
        load(FOLDER / "example-production.toml", environ={}, builtin=BUILTIN)
    assert len(caught.value.errors) == 6
    assert all(f"names no file: {CREDENTIALS}" in error for error in caught.value.errors)


def test_all_keys() -> None:
    """The production example shows every key that the loader knows."""
    text = (FOLDER / "example-production.toml").read_text()
    # What has no default and depends on the machine is there as a comment.
    tree = tomllib.loads(
        re.sub(
            r"^# (ca_file|proxy|profile|class|view_token|user_header|\[dest)",
            r"\1",
            text,
            flags=re.M,
        )
    )
    assert set(tree) == set(sections.SECTIONS)
    for name, known in sections.known_keys().items():
        table = tree[name]
        if name in ("pools", "sources", "connections", "destinations"):
            shown = {key for named in table.values() for key in named}
        else:
            shown = set(table)
        assert shown == known, name


def test_credentials() -> None:
    """The systemd unit loads every secret that the production example names, and no other."""
    unit = (FOLDER / "systemd/bulkhead.service").read_text()
    text = (FOLDER / "example-production.toml").read_text()
    loaded = re.findall(r"^LoadCredential=([a-z-]+):", unit, re.M)
    assert set(loaded) == set(re.findall(f"{CREDENTIALS}([a-z-]+)", text))


def test_stop_time() -> None:
    """systemd waits longer for a stop than the service's drain takes by default."""
    unit = (FOLDER / "systemd/bulkhead.service").read_text()
    found = re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.M)
    assert found
    demo = load(FOLDER / "bulkhead.toml", environ={}, builtin=BUILTIN)
    assert int(found[1]) > demo.service.drain_timeout_s + 5


def test_socket() -> None:
    """The socket unit listens where the tracking API does by default."""
    unit = (FOLDER / "systemd/bulkhead.socket").read_text()
    demo = load(FOLDER / "bulkhead.toml", environ={}, builtin=BUILTIN)
    assert f"ListenStream={demo.api.listen}\n" in unit
