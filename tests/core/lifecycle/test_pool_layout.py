"""The plan of a pool: slots, spares, restarts, with invented children."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.effects import Assign, ExitReason, Fork, Isolate, Retire, Wake
from supervisor.core.lifecycle.pool_layout import CELLS_MOST, Effect, PoolLayout, RestartPolicy


def pool(slots: int = 2, spares: int = 1) -> PoolLayout:
    return PoolLayout(itertools.count(1), slots, spares, RestartPolicy(first_s=1.0, most_s=8.0))


def test_start_forks_slots_and_spares() -> None:
    """A pool that starts asks for as many children as it has slots and spares."""
    assert pool().started(0.0) == [Fork(1), Fork(2), Fork(3)]


def test_ready_children_fill_slots_first() -> None:
    """Who is ready first serves; the one too many is the spare."""
    p = pool()
    p.started(0.0)
    assert p.child_ready(2, 0.1) == [Assign(2, 1)]
    assert p.child_ready(1, 0.2) == [Assign(1, 2)]
    assert p.child_ready(3, 0.3) == []
    assert p.spares == [3]


def full(p: PoolLayout) -> PoolLayout:
    for effect in p.started(0.0):
        assert isinstance(effect, Fork)
        p.child_ready(effect.child, 0.0)
    return p


def test_spare_takes_the_slot_of_the_dead_at_once() -> None:
    """A dead worker's slot goes to the spare in the same step; the next one is forked behind it."""
    p = full(pool())
    assert p.child_gone(1, was_ready=True, now=5.0) == [Assign(3, 1), Wake(5.005)]
    assert p.woke(5.005) == [Fork(4)]


def test_nobody_settles_while_a_slot_is_empty() -> None:
    """A second death before the next spare was forked: both are forked at once."""
    p = full(pool())
    p.child_gone(1, was_ready=True, now=5.0)
    assert p.child_gone(2, was_ready=True, now=5.002) == [Fork(4), Fork(5)]


def test_only_a_death_is_followed_by_a_pause_for_the_successor() -> None:
    """A spare that died, or was put to work apart, is made good at once."""
    p = full(pool())
    assert p.child_gone(3, was_ready=True, now=5.0) == [Fork(4)]
    p.child_ready(4, 5.1)
    assert p.isolated("bad", 5.2) == [Isolate(4, "bad"), Fork(5)]


def test_recycling_leaves_no_gap() -> None:
    """A recycled worker's slot is taken before it is told to drain."""
    p = full(pool())
    assert p.recycled(2, 5.0) == [Assign(3, 2), Fork(4), Retire(2, ExitReason.RECYCLE)]


def test_failed_starts_wait_longer_each_time() -> None:
    """Children that die before they are ready are not forked again at once."""
    p = pool(1, 0)
    assert p.started(0.0) == [Fork(1)]
    assert p.child_gone(1, was_ready=False, now=0.0) == [Wake(1.0)]
    assert p.woke(1.0) == [Fork(2)]
    assert p.child_gone(2, was_ready=False, now=1.0) == [Wake(3.0)]
    assert p.is_failing
    assert p.woke(3.0) == [Fork(3)]
    assert p.child_ready(3, 3.1) == [Assign(3, 1)]
    assert not p.is_failing


def test_shrinking_retires_the_last_slots() -> None:
    """Fewer workers in the config: those in the highest slots finish and go."""
    p = full(pool())
    assert p.resized(1, 1, 1.0) == [Retire(2, ExitReason.RECYCLE)]


def test_renewal_replaces_everybody_once() -> None:
    """New code or limits: all children, spares and starting ones included, are replaced."""
    p = full(pool())
    effects = p.renewed(1.0)
    assert effects == [
        Fork(4), Fork(5), Fork(6),
        Retire(3, ExitReason.RECYCLE), Retire(1, ExitReason.RECYCLE), Retire(2, ExitReason.RECYCLE),
    ]  # fmt: skip


def test_shut_forks_nothing_any_more() -> None:
    """In a drain every child is retired, and deaths are not made good."""
    p = full(pool())
    assert {e.child for e in p.shut() if isinstance(e, Retire)} == {1, 2, 3}
    assert p.child_gone(1, was_ready=True, now=1.0) == []
    assert p.woke(9.0) == []


def test_isolated_connection_takes_the_spare_beside_the_slots() -> None:
    """A connection that is to run apart gets a warm worker at once, and no slot loses one."""
    p = full(pool())
    assert p.isolated("bad", 1.0) == [Isolate(3, "bad"), Fork(4)]
    assert p.children() == [1, 2]
    assert p.child_gone(3, was_ready=True, now=2.0) == [Fork(5)]
    assert p.child_ready(4, 2.1) == [Isolate(4, "bad")]
    assert p.rejoined("bad", 3.0) == [Retire(4, ExitReason.RECYCLE)]


def test_isolation_works_with_one_worker_and_no_spare() -> None:
    """Then one more is forked for it."""
    p = full(pool(1, 0))
    assert p.isolated("bad", 1.0) == [Fork(2)]
    assert p.child_ready(2, 1.1) == [Isolate(2, "bad")]
    assert p.children() == [1]


def test_workers_apart_are_bounded() -> None:
    """Who comes when they are all taken waits for one to be given back."""
    p = full(pool(1, 0))
    names = [f"bad-{n}" for n in range(CELLS_MOST + 1)]
    spawned = [effect for name in names for effect in p.isolated(name, 1.0)]
    assert spawned == [Fork(n + 2) for n in range(CELLS_MOST)]
    for n in range(CELLS_MOST):
        assert p.child_ready(n + 2, 1.1) == [Isolate(n + 2, names[n])]
    last = CELLS_MOST + 2
    assert p.rejoined(names[0], 2.0) == [Retire(2, ExitReason.RECYCLE), Fork(last)]
    assert p.child_ready(last, 2.1) == [Isolate(last, names[-1])]


def test_slots_go_before_workers_apart() -> None:
    """Where one child is ready and both are wanted, the others' slot comes first."""
    p = full(pool(1, 0))
    p.isolated("bad", 1.0)
    p.child_gone(1, was_ready=True, now=1.0)
    assert p.child_ready(2, 1.1) == [Assign(2, 1)]


def crash(p: PoolLayout, times: int, now: float, *, has_worked: bool = False) -> list[Effect]:
    """The worker in slot 1 dies so often, each as soon as it serves; what came of the last one."""
    effects: list[Effect] = []
    for _ in range(times):
        child = p.slots[1]
        assert child is not None, "nobody serves there"
        effects = p.child_gone(child, was_ready=True, has_worked=has_worked, now=now)
        for effect in effects:
            if isinstance(effect, Fork):
                p.child_ready(effect.child, now)
    return effects


def test_too_many_deaths_have_to_wait() -> None:
    """Past the budget a slot stays empty for a while, each time longer, though a spare is there."""
    p = full(pool(1, 1))
    crash(p, 10, 0.0)
    assert not p.is_failing
    assert crash(p, 1, 0.0) == [Wake(1.0)]
    assert p.is_failing
    assert p.pause_s(0.25) == 0.75
    assert p.child_gone(p.spares[0], was_ready=True, now=0.5) == [Wake(2.5)]
    woken = p.woke(2.5)
    assert [type(effect) for effect in woken] == [Fork, Fork]
    for effect in woken:
        assert isinstance(effect, Fork)
        p.child_ready(effect.child, 2.6)
    assert not p.is_failing


def test_budget_heals_with_time() -> None:
    """Deaths that are far enough apart are made good at once, for ever."""
    p = full(pool(1, 1))
    for n in range(200):
        now = n * 1.1
        settled = now + p.policy.settle_s
        effects = crash(p, 1, now)
        assert [effect.at for effect in effects if isinstance(effect, Wake)] == [settled]
        for effect in p.woke(settled):
            assert isinstance(effect, Fork)
            p.child_ready(effect.child, settled)
    assert p.pauses == 0


def test_deaths_after_work_weigh_less() -> None:
    """Workers that get something done between two deaths are replaced at once much longer."""
    p = full(pool(1, 1))
    assert not any(isinstance(e, Wake) for e in crash(p, 100, 0.0, has_worked=True))
    assert crash(p, 1, 0.0, has_worked=True) == [Wake(1.0)]


def test_deaths_apart_cost_the_pool_nothing() -> None:
    """Who runs in a worker of its own has its own score, and not the slots' budget."""
    p = full(pool(1, 1))
    p.isolated("bad", 0.0)
    for _ in range(100):
        child = p.cells["bad"]
        assert child is not None
        effects = p.child_gone(child, was_ready=True, now=0.0)
        for effect in effects:
            if isinstance(effect, Fork):
                p.child_ready(effect.child, 0.0)
    assert p.pauses == 0


def test_connection_whose_worker_apart_dies_goes_to_the_end_of_the_line() -> None:
    """Those that wait for a worker of their own have not even been tried."""
    p = full(pool(1, 1))

    def get_ready(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Fork):
                get_ready(p.child_ready(effect.child, 0.0))

    names = [f"c{n}" for n in range(CELLS_MOST + 1)]
    for name in names:
        get_ready(p.isolated(name, 0.0))
    assert p.cells[names[-1]] is None
    first = p.cells[names[0]]
    assert first is not None
    get_ready(p.child_gone(first, was_ready=True, now=0.0))
    assert p.cells[names[-1]] is not None
    assert p.cells[names[0]] is None


@dataclass
class World:
    """Plays the shell: remembers who lives and what was asked for."""

    pool: PoolLayout
    now: float = 0.0
    starting: set[int] = field(default_factory=set)
    alive: set[int] = field(default_factory=set)
    leaving: set[int] = field(default_factory=set)
    wake_at: float | None = None

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Fork(child=child):
                    self.starting.add(child)
                case Assign(child=child) | Isolate(child=child):
                    assert child in self.alive
                case Retire(child=child):
                    self.alive.discard(child)
                    self.starting.discard(child)
                    self.leaving.add(child)
                case Wake(at=at):
                    assert at > self.now
                    self.wake_at = at


@given(st.data())
def test_a_slot_is_never_without_a_plan(data: st.DataObject) -> None:
    """Through any history: every empty slot has a child on its way or a time to ask for one."""
    world = World(pool(data.draw(st.integers(1, 4)), data.draw(st.integers(0, 3))))
    p = world.pool
    world.carry_out(p.started(0.0))
    for _ in range(data.draw(st.integers(0, 40))):
        world.now += data.draw(st.sampled_from([0.0, 0.05, 2.0]))
        actions = ["wake", "resize", "renew", "isolate", "rejoin"]
        if world.starting:
            actions += ["ready"] * 3 + ["fail"]
        if world.alive:
            actions += ["die", "recycle"]
        match data.draw(st.sampled_from(actions)):
            case "ready":
                child = data.draw(st.sampled_from(sorted(world.starting)))
                world.starting.discard(child)
                world.alive.add(child)
                world.carry_out(p.child_ready(child, world.now))
            case "fail":
                child = data.draw(st.sampled_from(sorted(world.starting)))
                world.starting.discard(child)
                world.carry_out(p.child_gone(child, was_ready=False, now=world.now))
            case "die":
                child = data.draw(st.sampled_from(sorted(world.alive)))
                world.alive.discard(child)
                has_worked = data.draw(st.booleans())
                world.carry_out(
                    p.child_gone(child, was_ready=True, has_worked=has_worked, now=world.now)
                )
            case "isolate":
                world.carry_out(p.isolated(data.draw(st.sampled_from("abc")), world.now))
            case "rejoin":
                world.carry_out(p.rejoined(data.draw(st.sampled_from("abc")), world.now))
            case "recycle":
                child = data.draw(st.sampled_from(sorted(world.alive)))
                world.carry_out(p.recycled(child, world.now))
            case "wake":
                world.wake_at = None
                world.carry_out(p.woke(world.now))
            case "resize":
                slots, spares = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 3))
                world.carry_out(p.resized(slots, spares, world.now))
            case _:
                world.carry_out(p.renewed(world.now))
        held = [child for child in (*p.slots.values(), *p.cells.values()) if child is not None]
        assert len(held) == len(set(held))
        assert set(held) | set(p.spares) == world.alive
        cells = list(p.cells.values())
        assert all(child is None for child in cells[CELLS_MOST:])
        empty = [*p.slots.values(), *cells[:CELLS_MOST]].count(None)
        is_planned = world.wake_at is not None and world.wake_at > world.now
        assert len(p.spares) <= p.spares_wanted + empty
        assert not empty or not p.spares or is_planned
        assert not empty or p.starting or world.wake_at is not None
        assert len(world.alive) + len(world.starting) <= 2 * (7 + CELLS_MOST) + 3
