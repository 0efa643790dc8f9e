"""Whom the end of a worker is charged to, and how often a trip counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.core.effects import ExitReason
from supervisor.core.health import DEATHS_MOST
from supervisor.core.lifecycle.worker_state import ProcessState
from supervisor.core.poison import PROOF_BATCHES, QUIET_S, Standing
from supervisor.delivery.records import PoolWorker
from supervisor.workers.process import Exit, Mark
from tests.core.test_histories import World


def a_world() -> World:
    """Connections a and b in a pool of one worker, with nothing to do."""
    return World(("a", "b"), frozenset(), "true", slots=1, spares=0)


def crashed(world: World, connection: str) -> None:
    """A worker that had done all that it had died in a step of this connection."""
    worker = cast(Any, SimpleNamespace(number=99, state=ProcessState.READY))  # Any: a stand-in
    # Any: nobody connects here.
    pool_worker = PoolWorker(
        worker, cast(Any, None), configured=dict(world.pool_connections), finished=5
    )
    end = Exit(ExitReason.SIGNAL, "SIGSEGV", True, 0.0, None, Mark(connection, 1, None, True))
    world.suspects.died(pool_worker, end, "evidence", is_ours=False)


@pytest.mark.parametrize("reason", [ExitReason.LEAK, ExitReason.OOM, ExitReason.LIMIT])
def test_what_is_used_up_is_charged_though_nobody_died(reason: ExitReason) -> None:
    """Who left a worker with nothing has it on its score, and runs apart; nobody else does."""
    world = a_world()
    world.suspects.used_up("a", reason, "64 of 64 MiB used")
    blame = world.suspects.blame("a")
    assert (blame.used_up, blame.deaths, blame.trips) == (1, 0, 0)
    assert world.suspects.score("a") == 1.0
    assert world.suspects.standing("a") is Standing.UNPROVEN
    assert not world.suspects.has_record("b")


def test_nobody_is_charged_who_is_gone_or_in_a_drain() -> None:
    """A name that the config does not have any more, and what no neighbour pays for."""
    world = a_world()
    world.suspects.used_up("gone", ExitReason.LEAK, "64 of 64 MiB used")
    world.suspects.draining()
    world.suspects.used_up("a", ExitReason.LEAK, "64 of 64 MiB used")
    assert not any(world.suspects.has_record(name) for name in ("a", "b", "gone"))


def test_who_hogs_runs_apart_and_is_charged_nothing() -> None:
    """What goes well counts when it has not done so for a while; it is told how often, and how."""
    world = a_world()
    record = world.suspects._court.record("a")
    for how in ("blocked", "blocked again"):
        world.suspects.hogged("a", how)
        assert world.suspects.standing("a") is Standing.UNPROVEN
        world.now += 0.9 * QUIET_S
        for _ in range(100):
            world.suspects._carry_out("a", record.went_well(world.now))
        assert record.good == 0
    blame = world.suspects.blame("a")
    assert (blame.hogged, blame.hogs, blame.deaths, blame.used_up) == (2, "blocked again", 0, 0)
    assert world.suspects.score("a") == 0.0
    assert not world.suspects.has_record("b")
    world.now += 0.1 * QUIET_S
    for _ in range(PROOF_BATCHES):
        assert world.suspects.standing("a") is Standing.UNPROVEN
        world.suspects._carry_out("a", record.went_well(world.now))
    assert world.suspects.standing("a") is Standing.TRUSTED


def test_nobody_hogs_who_is_gone_on_trial_or_in_a_drain() -> None:
    """What is under way there has its own end."""
    world = a_world()
    world.suspects.hogged("gone", "blocked")
    world.suspects._court.record("b").accused(1, world.now)
    world.suspects.hogged("b", "blocked")
    world.suspects.draining()
    world.suspects.hogged("a", "blocked")
    assert not any(world.suspects.has_record(name) for name in ("a", "b", "gone"))


def test_who_fills_worker_after_worker_trips() -> None:
    """Slow leaks never do; one that has a worker replaced every second does, and it is said why."""
    world = a_world()
    for _ in range(100):
        world.suspects.used_up("a", ExitReason.LEAK, "64 of 64 MiB used")
        world.suspects._of("a").health.went_well()
        world.now += 60.0
    assert world.suspects.blame("a").trips == 0
    for _ in range(int(DEATHS_MOST) + 3):
        world.suspects.used_up("a", ExitReason.LEAK, "64 of 64 MiB used")
        world.suspects._of("a").health.went_well()
        world.now += 1.0
    assert world.suspects.blame("a").trips == 1
    breaker = world.scheduler.schedules["a"].breaker
    assert "in a short while" in breaker.reason
    assert "workers out of memory" in breaker.reason
    assert "64 of 64 MiB used" in breaker.reason


def test_a_trip_counts_once_per_opening() -> None:
    """Deaths while the breaker is open add none; those of a probe open it again, and count."""
    world = a_world()
    for _ in range(4):
        crashed(world, "a")
    assert world.suspects.blame("a").trips == 1
    for _ in range(4):
        crashed(world, "a")
    assert world.suspects.blame("a").trips == 1
    world.scheduler.schedules["a"].breaker.probe_began()
    for _ in range(2):
        crashed(world, "a")
    assert world.suspects.blame("a").trips == 2
    assert world.suspects.blame("a").deaths == 10


def test_what_dies_together_with_the_zygote_is_released_uncharged() -> None:
    """Its events are sent again as if they had never been sent."""
    world = a_world()
    for child in list(world.starting):
        world.ready(child)
    world.accept("a", 3)
    world.pump()
    (pool_worker,) = world.pool_workers.values()
    (batch,) = pool_worker.batches.values()
    end = Exit(ExitReason.SIGNAL, "SIGSEGV", True, 0.0, None, Mark("a", batch.id, 0, True))
    world.suspects.died(pool_worker, end, "evidence", is_ours=True)
    assert sorted(world.fresh["a"]) == sorted(world.accepted)
    assert not world.suspects.has_record("a")
    assert world.suspects.standing("a") is Standing.TRUSTED
