"""The machine decides as the one before it did, over the same histories. Gone with the old one.

What differs on purpose stands in `old.py`. The order of effects within one fact may differ; which
they are may not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor import suspects as old
from supervisor.core.isolation import facts as told
from supervisor.core.isolation.effects import (
    ForgetLease,
    HoldLease,
    IsolationEffect,
    PlaceConnection,
    Resend,
)
from supervisor.core.isolation.placement import Dedicated, Shared
from tests.core.isolation.old import OldMachine
from tests.core.isolation.steps import HISTORIES, WORLDS, Step, step
from tests.core.isolation.world import World


class Twin:
    """Tells the old machine what the new one was told, and compares."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.old = OldMachine(world)

    def told(self, fact: told.IsolationFact, effects: list[IsolationEffect]) -> None:
        """Both decide the same of a fact."""
        with patch.object(old, "_log", self.old):
            before = self.old.handle(fact)
        # It asks whether a worker takes a probe before it decides on one, and says nothing else.
        now = [one for one in effects if not self._is_of_new_alone(one)]
        assert Counter(map(repr, now)) == Counter(map(repr, before)), (fact, now, before)
        for one in effects:
            match one:
                case PlaceConnection(connection=name, placement=Shared()):
                    assert name in self.old.voided, "what it had proven holds"
                case _:
                    pass
        for name in self.old.voided:
            placed = [
                one.placement
                for one in effects
                if isinstance(one, PlaceConnection) and one.connection == name
            ]
            assert any(
                not isinstance(placement, Dedicated) or placement.is_probed for placement in placed
            ), "what it had proven is void"

    def _is_of_new_alone(self, effect: IsolationEffect) -> bool:
        match effect:
            case PlaceConnection() | HoldLease() | ForgetLease():
                return True  # compared as states
            case Resend(worker=worker):
                return not self.world.takes_probe(worker)
            case _:
                return False

    def rested(self) -> None:
        """Both think the same of everybody."""
        before, now = self.old.machine, self.world.machine
        for name in self.world.open:
            assert now.placement(name) == self.old.placement(name)
            assert now.most_events(name) == before.most_events(name)
            status = now.status(name)
            # Who is known and blameless tells as much as who is not known.
            assert (0 if status is None else status.undecided) == before.undecided(name)
            assert (0.0 if status is None else status.score) == before.score(name)
            blame = asdict(before.blame(name))
            assert blame == (asdict(old.Blame()) if status is None else asdict(status.blame))
            for worker in self.world.workers.values():
                if worker.is_ready:
                    may = before.may_run(name, self.old._post(worker.number))
                    assert now.may_run(name, worker.number) == may
        held = {file.run.id for one in before._known.values() for file in one.files}
        assert self.world.held.keys() == held


def watched(world: World) -> World:
    """A world whose machine is compared from here on."""
    twin = Twin(world)
    world.shadow = twin
    for name, is_closed in world.open.items():
        twin.old.handle(told.ConnectionOpened(name, is_closed))
    return world


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(WORLDS.map(watched), HISTORIES, st.sampled_from(["settle", "drain"]))
def test_it_decides_as_before(world: World, steps: list[Step], end: str) -> None:
    """Charges, trips, quarantines, placements, what is sent again, what is told and logged."""
    for one in steps:
        step(world, one)
    if end == "drain":
        world.drain()
        while busy := world.busy():
            world.work(busy[0])
        return
    for name in list(world.pending):
        if name not in world.open or world.open[name]:
            world.add(name)
    world.settle()
