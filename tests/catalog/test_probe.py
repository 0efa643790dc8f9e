"""Declaring workers: whatever an import or a check of settings does, the others are answered."""

from __future__ import annotations

import pytest

from sandbox.protocol import LAYERS as LAYER_NAMES
from sandbox.protocol import (
    Connect,
    Declaration,
    Declared,
    FromWorker,
    Ready,
    Stats,
    Validated,
)
from supervisor.catalog import probe
from supervisor.catalog.probe import Declarations, SettingsCheck, declare
from tests.catalog.declaring import DIES, HANGS, LAYERS, TRACK, Exits, ScriptedFleet, pool_spec


def check(connection: str, destination: str) -> SettingsCheck:
    """A check of a connection without settings."""
    return SettingsCheck(connection, destination, {})


async def test_one_worker_declares_all_and_checks_all() -> None:
    """Each destination in order, then each connection; the worker then ends in good order."""
    page = Declaration(types=frozenset({"page"}), hosts=("a.example",))
    fleet = ScriptedFleet(imports={"b": page}, checks={"two": ["key: is required"]})
    exits = Exits()
    found = await declare(
        fleet.as_fleet(), pool_spec("a", "b"), [check("one", "a"), check("two", "b")], exits
    )
    assert found == Declarations(
        by_destination={"a": TRACK, "b": page},
        settings_errors={"one": [], "two": ["key: is required"]},
        layers=LAYERS,
    )
    (worker,) = fleet.workers
    assert worker.validated == ["one", "two"]
    (record,) = exits.records
    assert (record.reason, record.detail) == ("drain", "it has declared all that there is")


async def test_an_import_that_raises_costs_no_worker() -> None:
    """Its reason is kept, its connections are not checked, and the others are."""
    fleet = ScriptedFleet(imports={"bad": "importing it raised"})
    found = await declare(
        fleet.as_fleet(), pool_spec("bad", "good"), [check("one", "bad"), check("two", "good")]
    )
    assert found.broken == {"bad": "importing it raised"}
    assert found.by_destination == {"good": TRACK}
    assert found.settings_errors == {"two": []}
    (worker,) = fleet.workers
    assert "bad could not be loaded: importing it raised" in worker.story


async def test_an_import_that_ends_its_worker_is_named() -> None:
    """Another worker declares the others, and the exit names the destination whose turn it was."""
    fleet = ScriptedFleet(imports={"bad": DIES})
    exits = Exits()
    found = await declare(
        fleet.as_fleet(), pool_spec("first", "bad", "last"), [check("one", "last")], exits
    )
    assert found.broken == {"bad": "importing it ended the worker (crash: exit status 3)"}
    assert found.by_destination == {"first": TRACK, "last": TRACK}
    assert found.settings_errors == {"one": []}
    assert [worker.destinations for worker in fleet.workers] == [
        ["first", "bad", "last"],
        ["first", "last"],
    ]
    assert [record.destination for record in exits.records] == ["bad", None]


async def test_a_check_that_ends_its_worker_is_the_settings_error() -> None:
    """Another worker checks the others, and the exit names connection and destination."""
    fleet = ScriptedFleet(checks={"two": DIES})
    exits = Exits()
    checks = [check("one", "a"), check("two", "a"), check("three", "a")]
    found = await declare(fleet.as_fleet(), pool_spec("a"), checks, exits)
    assert found.settings_errors == {
        "one": [],
        "two": ["checking them ended the worker (crash: SIGSEGV)"],
        "three": [],
    }
    assert [worker.validated for worker in fleet.workers] == [["one", "two"], ["one", "three"]]
    assert [(record.connection, record.destination) for record in exits.records] == [
        ("two", "a"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("fleet", "step"),
    [
        (ScriptedFleet(imports={"a": HANGS}), "the import"),
        (ScriptedFleet(checks={"one": HANGS}), "the check of settings"),
    ],
    ids=["import", "check"],
)
async def test_what_never_returns_is_ended(
    fleet: ScriptedFleet, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step has its time; the reason says which one it was."""
    monkeypatch.setattr(probe, "STEP_TIMEOUT_S", 0.01)
    found = await declare(fleet.as_fleet(), pool_spec("a"), [check("one", "a")])
    (reason,) = [*found.broken.values(), *found.settings_errors.get("one", [])]
    assert f"timeout: {step} took longer than 0.01 s" in reason


async def test_a_worker_that_lets_its_time_pass_once_accuses_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have been stopped from outside: it is named, and another one is asked."""
    monkeypatch.setattr(probe, "STEP_TIMEOUT_S", 0.01)
    fleet = ScriptedFleet(hangs_once="a")
    found = await declare(fleet.as_fleet(), pool_spec("a", "b"), [])
    assert found == Declarations(by_destination={"a": TRACK, "b": TRACK}, layers=LAYERS)
    assert [one.who for one in fleet.unanswered.last()] == ["default#declare"]


async def test_a_worker_that_does_not_start_accuses_no_destination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another one is tried, a few times; where none starts, that is the reason of all."""
    monkeypatch.setattr(probe, "START_AGAIN_S", 0.01)
    fleet = ScriptedFleet(starts_at=probe.START_TRIES)
    found = await declare(fleet.as_fleet(), pool_spec("a"), [])
    assert found == Declarations(by_destination={"a": TRACK}, layers=LAYERS)
    fleet = ScriptedFleet(starts=False)
    found = await declare(fleet.as_fleet(), pool_spec("a", "b"), [])
    reason = "no worker has started: crash: fork: no memory"
    assert found.broken == {"a": reason, "b": reason}
    assert len(fleet.workers) == probe.START_TRIES


async def test_where_no_worker_starts_each_layer_says_why() -> None:
    """A machine without memory for a worker has no layer in force, and no answer hangs."""
    fleet = ScriptedFleet(starts=False)
    found = await declare(fleet.as_fleet(), pool_spec(), [])
    assert set(found.layers) == set(LAYER_NAMES)
    assert "no worker has started" in found.layers["seccomp"]
    assert "fork: no memory" in found.layers["seccomp"]


async def test_a_pool_without_destinations_has_layers_all_the_same() -> None:
    """A worker comes for them alone."""
    fleet = ScriptedFleet()
    found = await declare(fleet.as_fleet(), pool_spec(), [])
    assert found == Declarations(layers=LAYERS)


@pytest.mark.parametrize(
    "message",
    [
        Declared("b", TRACK),
        Validated("one", []),
        Ready(0, {}),
        Stats(0.0, 0),
        Connect(1, "one", "a.example", 443),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_what_is_out_of_turn_is_a_breach(message: FromWorker | Connect) -> None:
    """A declaring worker declares what it was asked for, in order, and nothing else."""
    fleet = ScriptedFleet(lie=message)
    await declare(fleet.as_fleet(), pool_spec("a"), [check("one", "a")])
    assert len(fleet.breaches) == len(fleet.workers) == 1
