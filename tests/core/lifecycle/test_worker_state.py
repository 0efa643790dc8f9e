"""The life of a child: every pair of state and event has a decided answer."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.effects import Announce, ExitReason, Kill, Reap, SendDrain, Watch
from supervisor.core.lifecycle.worker_state import (
    BecameReady,
    DrainOverdue,
    Event,
    Exited,
    Forked,
    ForkFailed,
    Impossible,
    KillAsked,
    ProcessState,
    RetireAsked,
    WireClosed,
    WorkerLifecycle,
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
TABLE: dict[tuple[ProcessState, type], object] = {
    (ProcessState.FORKING, Forked): (ProcessState.STARTING, [Watch(7)]),
    (ProcessState.FORKING, ForkFailed): (
        ProcessState.GONE,
        [Reap(ExitReason.LIMIT, "no memory", False)],
    ),
    (ProcessState.FORKING, BecameReady): BUG,
    (ProcessState.FORKING, RetireAsked): (ProcessState.DOOMED, []),
    (ProcessState.FORKING, KillAsked): (ProcessState.DOOMED, []),
    (ProcessState.FORKING, DrainOverdue): (ProcessState.FORKING, []),
    (ProcessState.FORKING, WireClosed): (ProcessState.FORKING, []),
    (ProcessState.FORKING, Exited): BUG,
    (ProcessState.DOOMED, Forked): (ProcessState.KILLED, [Watch(7), Kill()]),
    (ProcessState.DOOMED, ForkFailed): (
        ProcessState.GONE,
        [Reap(ExitReason.LIMIT, "no memory", False)],
    ),
    (ProcessState.DOOMED, BecameReady): BUG,
    (ProcessState.DOOMED, RetireAsked): (ProcessState.DOOMED, []),
    (ProcessState.DOOMED, KillAsked): (ProcessState.DOOMED, []),
    (ProcessState.DOOMED, DrainOverdue): (ProcessState.DOOMED, []),
    (ProcessState.DOOMED, WireClosed): (ProcessState.DOOMED, []),
    (ProcessState.DOOMED, Exited): BUG,
    (ProcessState.STARTING, Forked): BUG,
    (ProcessState.STARTING, ForkFailed): BUG,
    (ProcessState.STARTING, BecameReady): (ProcessState.READY, [Announce(4)]),
    (ProcessState.STARTING, RetireAsked): (ProcessState.KILLED, [Kill()]),
    (ProcessState.STARTING, KillAsked): (ProcessState.KILLED, [Kill()]),
    (ProcessState.STARTING, DrainOverdue): (ProcessState.STARTING, []),
    (ProcessState.STARTING, WireClosed): (ProcessState.KILLED, [Kill()]),
    (ProcessState.STARTING, Exited): (
        ProcessState.GONE,
        [Reap(ExitReason.CRASH, "exit status 0, unasked", False)],
    ),
    (ProcessState.READY, Forked): BUG,
    (ProcessState.READY, ForkFailed): BUG,
    (ProcessState.READY, BecameReady): (ProcessState.KILLED, [Kill()]),
    (ProcessState.READY, RetireAsked): (ProcessState.DRAINING, [SendDrain()]),
    (ProcessState.READY, KillAsked): (ProcessState.KILLED, [Kill()]),
    (ProcessState.READY, DrainOverdue): (ProcessState.READY, []),
    (ProcessState.READY, WireClosed): (ProcessState.KILLED, [Kill()]),
    (ProcessState.READY, Exited): (
        ProcessState.GONE,
        [Reap(ExitReason.CRASH, "exit status 0, unasked", False)],
    ),
    (ProcessState.DRAINING, Forked): BUG,
    (ProcessState.DRAINING, ForkFailed): BUG,
    (ProcessState.DRAINING, BecameReady): (ProcessState.DRAINING, []),
    (ProcessState.DRAINING, RetireAsked): (ProcessState.DRAINING, []),
    (ProcessState.DRAINING, KillAsked): (ProcessState.KILLED, [Kill()]),
    (ProcessState.DRAINING, DrainOverdue): (ProcessState.KILLED, [Kill()]),
    (ProcessState.DRAINING, WireClosed): (ProcessState.DRAINING, []),
    (ProcessState.DRAINING, Exited): (
        ProcessState.GONE,
        [Reap(ExitReason.CRASH, "exit status 0, unasked", False)],
    ),
    (ProcessState.KILLED, Forked): BUG,
    (ProcessState.KILLED, ForkFailed): BUG,
    (ProcessState.KILLED, BecameReady): (ProcessState.KILLED, []),
    (ProcessState.KILLED, RetireAsked): (ProcessState.KILLED, []),
    (ProcessState.KILLED, KillAsked): (ProcessState.KILLED, []),
    (ProcessState.KILLED, DrainOverdue): (ProcessState.KILLED, []),
    (ProcessState.KILLED, WireClosed): (ProcessState.KILLED, []),
    (ProcessState.KILLED, Exited): (
        ProcessState.GONE,
        [Reap(ExitReason.CRASH, "exit status 0, unasked", False)],
    ),
    (ProcessState.GONE, Forked): BUG,
    (ProcessState.GONE, ForkFailed): BUG,
    (ProcessState.GONE, BecameReady): (ProcessState.GONE, []),
    (ProcessState.GONE, RetireAsked): (ProcessState.GONE, []),
    (ProcessState.GONE, KillAsked): (ProcessState.GONE, []),
    (ProcessState.GONE, DrainOverdue): (ProcessState.GONE, []),
    (ProcessState.GONE, WireClosed): (ProcessState.GONE, []),
    (ProcessState.GONE, Exited): BUG,
}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", ProcessState, ids=lambda state: state.name)
def test_every_state_answers_every_event(state: ProcessState, event: Event) -> None:
    """A state and an event lead to one state and its effects, or are a bug of the shell."""
    child = WorkerLifecycle(state)
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
    child = WorkerLifecycle()
    child.handle(Forked(7))
    child.handle(BecameReady(4))
    if asked is not None:
        child.handle(asked)
    assert child.handle(Exited(status)) == [Reap(reason, detail, was_ready=True)]


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
    child = WorkerLifecycle()
    for event in (Forked(7), BecameReady(4), retired_for, LATE):
        child.handle(event)
    assert child.handle(Exited(-signal.SIGKILL)) == [Reap(reason, detail, was_ready=True)]


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_no_history_buries_twice(history: list[Event]) -> None:
    """Whatever happens, a child is buried at most once, and only then it is gone."""
    child, burials = WorkerLifecycle(), 0
    for event in history:
        try:
            effects = child.handle(event)
        except Impossible:
            continue
        burials += sum(isinstance(effect, Reap) for effect in effects)
        assert (child.state is ProcessState.GONE) == (burials == 1)
    assert burials <= 1
