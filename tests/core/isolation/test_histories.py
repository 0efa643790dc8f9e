"""The machine alone, through random histories: what the service promises of every delivery."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.core.effects import ExitReason
from supervisor.core.isolation import facts as told
from supervisor.core.isolation.effects import CountBlame, Resend, Trip
from tests.core.isolation.steps import HISTORIES, WORLDS, Step, step
from tests.core.isolation.world import World


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(WORLDS, HISTORIES)
def test_whatever_happens_everything_ends_as_it_should(world: World, steps: list[Step]) -> None:
    """Nothing is lost or decided twice, innocents are delivered, killers quarantined."""
    for one in steps:
        step(world, one)
        world.check()
    for name in list(world.pending):
        if name not in world.open or world.open[name]:
            world.add(name)
    world.settle()
    assert world.delivered.keys() | world.quarantined.keys() == world.accepted
    assert world.accepted & world.poison <= world.quarantined.keys()
    assert not world.held
    for _ in range(3):
        world.spares += 1
        world.fill()
        world.tick(7.0)
    assert not world.claims, "it keeps a worker that has nothing to do"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(WORLDS, HISTORIES, st.booleans())
def test_a_drain_charges_nobody(world: World, steps: list[Step], is_finished: bool) -> None:
    """What is undecided then is pending again, uncharged; no probe leaves any more."""
    for one in steps:
        step(world, one)
    began = len(world.effects)
    world.drain()
    while busy := world.busy():
        number = busy[0]
        if is_finished:
            batch = next(iter(world.workers[number].batches.values()))
            world._answer(batch, batch.unreported)
            world.finish(world.workers[number], batch, delivered=len(batch.events))
        else:
            world.die(number, ExitReason.SIGNAL, "SIGSEGV")
    for name in world.open:
        world.tell(told.ResourcesExhausted(name, ExitReason.OOM, "all used"))
        world.tell(told.LoopHogged(name, "blocked one"))
    world.tick(60.0)
    assert not world.held
    assert not any(isinstance(one, CountBlame | Trip | Resend) for one in world.effects[began:])
    waiting = {event for events in world.pending.values() for event in events}
    waiting |= {event for entries in world.later.values() for _, event in entries}
    assert world.accepted == waiting | world.delivered.keys() | world.quarantined.keys()
