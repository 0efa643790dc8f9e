"""The life of a child: every pair of state and event has a decided answer."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.effects import Announce, Bury, ExitReason, Kill, SendDrain, Watch
from supervisor.core.lifecycle.worker_state import (
    BecameReady,
    Child,
    DrainOverdue,
    Event,
    Exited,
    Forked,
    ForkFailed,
    Impossible,
    KillAsked,
    RetireAsked,
    State,
    WireClosed,
)

KILL = KillAsked(ExitReason.TIMEOUT, "too long")
RETIRE = RetireAsked(ExitReason.RECYCLE)
LATE = DrainOverdue("still there")
EVENTS: list[Event] = [
    Forked(7),
    ForkFailed("no memory"),
    BecameReady(4),
    RETIRE,
    KILL,
    LATE,
    WireClosed(),
    Exited(0),
]
BUG = "bug"

#: (state, event) → (state after, effects), or BUG where it cannot happen.
TABLE: dict[tuple[State, type], object] = {
    (State.FORKING, Forked): (State.STARTING, [Watch(7)]),
    (State.FORKING, ForkFailed): (State.GONE, [Bury(ExitReason.LIMIT, "no memory", False)]),
    (State.FORKING, BecameReady): BUG,
    (State.FORKING, RetireAsked): (State.DOOMED, []),
    (State.FORKING, KillAsked): (State.DOOMED, []),
    (State.FORKING, DrainOverdue): (State.FORKING, []),
    (State.FORKING, WireClosed): (State.FORKING, []),
    (State.FORKING, Exited): BUG,
    (State.DOOMED, Forked): (State.KILLED, [Watch(7), Kill()]),
    (State.DOOMED, ForkFailed): (State.GONE, [Bury(ExitReason.LIMIT, "no memory", False)]),
    (State.DOOMED, BecameReady): BUG,
    (State.DOOMED, RetireAsked): (State.DOOMED, []),
    (State.DOOMED, KillAsked): (State.DOOMED, []),
    (State.DOOMED, DrainOverdue): (State.DOOMED, []),
    (State.DOOMED, WireClosed): (State.DOOMED, []),
    (State.DOOMED, Exited): BUG,
    (State.STARTING, Forked): BUG,
    (State.STARTING, ForkFailed): BUG,
    (State.STARTING, BecameReady): (State.READY, [Announce(4)]),
    (State.STARTING, RetireAsked): (State.KILLED, [Kill()]),
    (State.STARTING, KillAsked): (State.KILLED, [Kill()]),
    (State.STARTING, DrainOverdue): (State.STARTING, []),
    (State.STARTING, WireClosed): (State.KILLED, [Kill()]),
    (State.STARTING, Exited): (
        State.GONE,
        [Bury(ExitReason.CRASH, "exit status 0, unasked", False)],
    ),
    (State.READY, Forked): BUG,
    (State.READY, ForkFailed): BUG,
    (State.READY, BecameReady): (State.KILLED, [Kill()]),
    (State.READY, RetireAsked): (State.DRAINING, [SendDrain()]),
    (State.READY, KillAsked): (State.KILLED, [Kill()]),
    (State.READY, DrainOverdue): (State.READY, []),
    (State.READY, WireClosed): (State.KILLED, [Kill()]),
    (State.READY, Exited): (State.GONE, [Bury(ExitReason.CRASH, "exit status 0, unasked", False)]),
    (State.DRAINING, Forked): BUG,
    (State.DRAINING, ForkFailed): BUG,
    (State.DRAINING, BecameReady): (State.DRAINING, []),
    (State.DRAINING, RetireAsked): (State.DRAINING, []),
    (State.DRAINING, KillAsked): (State.KILLED, [Kill()]),
    (State.DRAINING, DrainOverdue): (State.KILLED, [Kill()]),
    (State.DRAINING, WireClosed): (State.DRAINING, []),
    (State.DRAINING, Exited): (
        State.GONE,
        [Bury(ExitReason.CRASH, "exit status 0, unasked", False)],
    ),
    (State.KILLED, Forked): BUG,
    (State.KILLED, ForkFailed): BUG,
    (State.KILLED, BecameReady): (State.KILLED, []),
    (State.KILLED, RetireAsked): (State.KILLED, []),
    (State.KILLED, KillAsked): (State.KILLED, []),
    (State.KILLED, DrainOverdue): (State.KILLED, []),
    (State.KILLED, WireClosed): (State.KILLED, []),
    (State.KILLED, Exited): (State.GONE, [Bury(ExitReason.CRASH, "exit status 0, unasked", False)]),
    (State.GONE, Forked): BUG,
    (State.GONE, ForkFailed): BUG,
    (State.GONE, BecameReady): (State.GONE, []),
    (State.GONE, RetireAsked): (State.GONE, []),
    (State.GONE, KillAsked): (State.GONE, []),
    (State.GONE, DrainOverdue): (State.GONE, []),
    (State.GONE, WireClosed): (State.GONE, []),
    (State.GONE, Exited): BUG,
}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_state_answers_every_event(state: State, event: Event) -> None:
    """A state and an event lead to one state and its effects, or are a bug of the shell."""
    child = Child(state)
    answer = TABLE[state, type(event)]
    if answer == BUG:
        with pytest.raises(Impossible):
            child.handle(event)
    else:
        effects = child.handle(event)
        assert (child.state, effects) == answer


@pytest.mark.parametrize(
    ("asked", "status", "reason", "detail"),
    [
        (None, 3, ExitReason.CRASH, "exit status 3"),
        (None, 0, ExitReason.CRASH, "exit status 0, unasked"),
        (None, -signal.SIGSEGV, ExitReason.SIGNAL, "SIGSEGV"),
        (None, -signal.SIGKILL, ExitReason.SIGNAL, "SIGKILL"),
        (None, -40, ExitReason.SIGNAL, "signal 40"),
        (KILL, -signal.SIGKILL, ExitReason.TIMEOUT, "too long"),
        (KILL, -signal.SIGSEGV, ExitReason.SIGNAL, "SIGSEGV"),
        (RETIRE, 0, ExitReason.RECYCLE, ""),
        (RETIRE, 1, ExitReason.CRASH, "exit status 1"),
    ],
)
def test_certificate_tells_what_ended_it(
    asked: Event | None, status: int, reason: ExitReason, detail: str
) -> None:
    """Our own reason stands where the end is what we asked for, the kernel's where it is not."""
    child = Child()
    child.handle(Forked(7))
    child.handle(BecameReady(4))
    if asked is not None:
        child.handle(asked)
    assert child.handle(Exited(status)) == [Bury(reason, detail, was_ready=True)]


@pytest.mark.parametrize(
    ("retired_for", "reason", "detail"),
    [
        (RETIRE, ExitReason.TIMEOUT, "still there"),
        (RetireAsked(ExitReason.OOM, "MemoryError"), ExitReason.OOM, "MemoryError; still there"),
        (RetireAsked(ExitReason.LEAK, "it leaks"), ExitReason.LEAK, "it leaks; still there"),
    ],
)
def test_who_does_not_go_goes_for_what_it_was_blamed_for(
    retired_for: Event, reason: ExitReason, detail: str
) -> None:
    """A worker that is late for its drain has hung, unless it had to go for a reason of its own."""
    child = Child()
    for event in (Forked(7), BecameReady(4), retired_for, LATE):
        child.handle(event)
    assert child.handle(Exited(-signal.SIGKILL)) == [Bury(reason, detail, was_ready=True)]


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_no_history_buries_twice(history: list[Event]) -> None:
    """Whatever happens, a child is buried at most once, and only then it is gone."""
    child, burials = Child(), 0
    for event in history:
        try:
            effects = child.handle(event)
        except Impossible:
            continue
        burials += sum(isinstance(effect, Bury) for effect in effects)
        assert (child.state is State.GONE) == (burials == 1)
    assert burials <= 1
