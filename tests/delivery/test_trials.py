"""What an event's history has of its trials: told where a worker died with it, and of nobody else.

The pool and its queue are real, its workers are not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from supervisor.core.effects import ExitReason
from supervisor.diagnostics.exits import ExitFilter
from supervisor.insight.attempts import Trial
from supervisor.queue import Delivery
from tests.delivery.world import World
from tests.queue.given import id_of

Told = list[tuple[Trial, str]]


class Listening:
    """Implements `DeliveryWatch`: trials by message id."""

    wants_samples = False

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.exits: set[str | None] = set()

    def retried(self, connection: str, n: int) -> None:
        """Is in the books."""

    def troubled(
        self, connection: str, kind: str, reason: str, n: int, one: object, deliveries: object
    ) -> None:
        """Is an attempt, and no trial."""

    def tried(
        self,
        connection: str,
        outcome: Trial,
        reason: str,
        worker: str,
        deliveries: Sequence[Delivery],
        exit_id: str | None,
    ) -> None:
        """Kept."""
        self.exits |= {exit_id} - {None}
        for delivery in deliveries:
            self.told.setdefault(id_of(delivery.body), []).append((outcome, reason))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[World, Listening]]:
    """In which m2 kills whoever runs it."""
    world, listening = World(tmp_path, {"m2"}, {}), Listening()
    world.watch = listening
    await world.start()
    yield world, listening
    await world.stop(finish=True)
    world.exits.close()


async def go_on(world: World) -> None:
    """Until everything has its end."""
    for _ in range(30):
        for worker in world.starting():
            world.ready(worker)
        await world.calm()
        for worker in world.busy():
            world.work(worker)
        await world.calm()
        world.wait(1.0)


async def test_what_kills_is_tried_alone_and_the_innocent_are_cleared(
    world: tuple[World, Listening],
) -> None:
    """Each step in its order, with the way in which the worker died."""
    there, listening = world
    for worker in there.starting():
        there.ready(worker)
    await there.accept(("a",), 3)
    await go_on(there)
    died = "signal (SIGSEGV)"
    together = ("suspected", f"its worker died, and it may be of this event: {died}")
    cleared = ("innocent", "it got its outcome with nothing else in its worker")
    alone = ("tried", "sent again alone, with nothing else in its worker")
    again = ("suspected", f"its worker died again: {died}")
    assert listening.told["m2"][0] == together
    assert listening.told["m2"][-4:] == [alone, again, alone, again]
    told = there.exits.list(ExitFilter(), limit=9, after=None)
    assert listening.exits == {one.id for one in told if one.reason == "signal"}
    for name in ("m1", "m3"):
        assert listening.told[name][0] == together
        assert listening.told[name][-1] == cleared
        assert {outcome for outcome, _ in listening.told[name]} <= {
            "suspected",
            "tried",
            "innocent",
        }


async def test_what_goes_well_is_not_told_at_all(world: tuple[World, Listening]) -> None:
    """Nor is what died of nobody's fault, but that it is sent again."""
    there, listening = world
    for worker in there.starting():
        there.ready(worker)
    await there.accept(("a",), 1)
    await there.calm()
    (busy,) = there.busy()
    there.die(busy, ExitReason.RECYCLE, "", is_luck=True)
    await go_on(there)
    assert ("a", "m1") in there.done
    assert listening.told == {"m1": [("released", "its worker ended, not by its fault: recycle")]}
