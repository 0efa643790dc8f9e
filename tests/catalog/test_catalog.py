"""From the answers of all pools to what a config may go into force with."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.catalog.catalog import declare_all, refuse_impossible, settings_checks
from supervisor.catalog.probe import Declarations, SettingsCheck
from supervisor.config import Config, ConfigError, load
from tests.catalog.declaring import TRACK, Exits, ScriptedFleet

CONFIG = """
[sandbox]
require = ["seccomp"]
[sources.site]
write_key = "key"
[pools.default]
destinations = ["*"]
[pools.hooks]
destinations = ["hook"]
[destinations.hook]
class = "own:Hook"
[destinations.crm]
class = "own:Crm"
[connections.site-hook]
source = "site"
destination = "hook"
settings = { token = { env = "TOKEN" } }
[connections.site-crm]
source = "site"
destination = "crm"
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two pools with one connection each."""
    path = tmp_path / "b.toml"
    path.write_text(CONFIG)
    return load(path, environ={"TOKEN": "s3cret-t0ken"}, builtin=set())


def test_each_pool_checks_the_settings_of_its_connections(config: Config) -> None:
    """Secrets are filled in: the destination is to judge the settings that it will get."""
    assert settings_checks(config, "hooks") == [
        SettingsCheck("site-hook", "hook", {"token": "s3cret-t0ken"})
    ]
    assert settings_checks(config, "default") == [SettingsCheck("site-crm", "crm", {})]


async def test_all_pools_are_asked_and_their_answers_combined(config: Config) -> None:
    """Declarations, reasons and errors of all; an exit for each worker."""
    fleet = ScriptedFleet(imports={"crm": "no good"}, checks={"site-hook": ["token: is wrong"]})
    exits = Exits()
    found = await declare_all(config, fleet.as_fleet(), exits)
    assert found.by_destination == {"hook": TRACK}
    assert found.broken == {"crm": "no good"}
    assert found.settings_errors == {"site-hook": ["token: is wrong"]}
    assert len(exits.records) == len(fleet.workers) == 2


async def test_the_weakest_pool_counts(config: Config) -> None:
    """A layer that is not in force for one pool is not in force."""
    fleet = ScriptedFleet(layers={"seccomp": "no kernel"}, layers_of="hooks")
    found = await declare_all(config, fleet.as_fleet(), Exits())
    assert found.layers == {"seccomp": "no kernel", "landlock": "on"}


def test_what_is_impossible_is_refused_all_at_once(config: Config) -> None:
    """Settings that a destination refuses, and a layer that is missing, without a secret."""
    declarations = Declarations(
        settings_errors={"site-hook": ["token: s3cret-t0ken is no token"], "site-crm": []},
        layers={"seccomp": "not this kernel"},
    )
    with pytest.raises(ConfigError) as caught:
        refuse_impossible(config, declarations)
    settings, layer = caught.value.errors
    assert "connections.site-hook.settings.token: " in settings
    assert "s3cret" not in settings
    assert layer.endswith("sandbox.require: seccomp is not in force here: not this kernel")


def test_a_layer_of_which_no_worker_told_is_missing(config: Config) -> None:
    """No report is no proof."""
    with pytest.raises(ConfigError, match="no worker has told of it"):
        refuse_impossible(config, Declarations())


def test_what_is_possible_goes_into_force(config: Config) -> None:
    """A destination that could not be loaded is no reason to refuse all others."""
    refuse_impossible(config, Declarations(broken={"crm": "no good"}, layers={"seccomp": "on"}))
