"""Whose fault a refusal of credentials is, and what goes while nobody has mended them."""

from __future__ import annotations

import itertools

import pytest

from supervisor.core.scheduling.credentials import (
    FIRST_S,
    MOST_REFUSED,
    MOST_S,
    CredentialsHold,
    Refusal,
)

WAITS, PROBED, UNDECIDED, ALONE = (
    Refusal.WAITS,
    Refusal.PROBED,
    Refusal.UNDECIDED,
    Refusal.ALONE,
)


class Bench:
    """A hold and its clock. Steps are `401 EVENT`, `token EVENT`, `200`, and `+SECONDS`."""

    def __init__(self) -> None:
        self.hold = CredentialsHold()
        self.now = 100.0

    def refused(
        self, event: int, *, is_certain: bool = False, started: float | None = None
    ) -> Refusal:
        return self.hold.refused(
            event,
            "401",
            is_certain=is_certain,
            started=self.now if started is None else started,
            now=self.now,
            jitter=1.0,
        )

    def step(self, said: str) -> Refusal | bool | None:
        match said.split():
            case ["401", event]:
                return self.refused(int(event))
            case ["token", event]:
                return self.refused(int(event), is_certain=True)
            case ["200"]:
                return self.hold.passed(self.now, self.now)
            case _:
                self.now += float(said)
        return None


@pytest.mark.parametrize(
    ("steps", "verdicts", "is_held"),
    [
        # One alone proves nothing, however often.
        (["401 1"], [UNDECIDED], False),
        (["401 1", "+5", "401 1", "+5", "401 1"], [UNDECIDED] * 3, False),
        # Two in a row do.
        (["401 1", "401 2"], [UNDECIDED, WAITS], True),
        (["401 1", "200", "401 2"], [UNDECIDED, UNDECIDED], False),
        (["401 1", "200", "401 2", "401 3"], [UNDECIDED, UNDECIDED, WAITS], True),
        # A token endpoint needs no second word.
        (["token 1"], [WAITS], True),
        # Others pass, and it gets it again: its own fault.
        (["401 1", "+1", "200", "+1", "401 1"], [UNDECIDED, ALONE], False),
        (["200", "401 1", "+1", "401 1"], [UNDECIDED, ALONE], False),
        (["200", "+1", "401 1", "+1", "401 1"], [UNDECIDED, UNDECIDED], False),
        # While it is held nothing fails: probes, and what went out before.
        (
            ["401 1", "401 2", "+1", "401 1", "+2", "401 1"],
            [UNDECIDED, WAITS, PROBED, PROBED],
            True,
        ),
        (["token 1", "+1", "token 1"], [WAITS, WAITS], True),
        # One that passes ends it.
        (["401 1", "401 2", "+1", "200"], [UNDECIDED, WAITS], False),
        (["token 1", "+1", "200"], [WAITS], False),
    ],
)
def test_whose_fault_it_is(steps: list[str], verdicts: list[Refusal], is_held: bool) -> None:
    """Two events in a row with none passed between, or a token endpoint: not the events'."""
    bench = Bench()
    assert [said for step in steps if isinstance(said := bench.step(step), Refusal)] == verdicts
    assert bench.hold.is_held == is_held


def test_what_began_before_the_hold_does_not_end_it() -> None:
    """A batch that went out earlier says nothing of how things are since."""
    bench = Bench()
    before = bench.now
    bench.step("+1")
    bench.step("token 1")
    bench.step("+1")
    assert not bench.hold.passed(before, bench.now)
    assert bench.refused(2, started=before) is WAITS
    assert bench.hold.is_held
    assert bench.hold.passed(bench.now, bench.now)


def test_what_began_before_the_end_does_not_begin_another() -> None:
    """Late refusals of old batches are nobody's."""
    bench = Bench()
    bench.step("token 1")
    late = bench.now
    bench.step("+1")
    bench.step("200")
    assert [bench.refused(event, started=late) for event in (1, 2, 3)] == [WAITS] * 3
    assert not bench.hold.is_held


def test_pauses_double_up_to_the_longest() -> None:
    """From a second on; each probe that is refused doubles them."""
    bench = Bench()
    bench.step("token 1")
    pauses = []
    for _ in range(12):
        pauses.append(bench.hold.probe_at - bench.now)
        bench.now = bench.hold.probe_at
        bench.hold.probe_began(bench.now)
        assert bench.hold.probe_at > bench.now, "the next one waits, whatever becomes of this one"
        bench.step("token 1")
    assert pauses[0] == FIRST_S
    assert pauses[-1] == MOST_S
    assert all(b in (2 * a, MOST_S) for a, b in itertools.pairwise(pauses))


def test_who_has_mended_something_waits_for_no_step() -> None:
    """And the answer to a probe that was under way already changes nothing of that."""
    bench = Bench()
    for _ in range(8):
        bench.step("token 1")
    sent = bench.now
    bench.step("+1")
    assert bench.hold.probe_at > bench.now
    bench.hold.ask_now(bench.now)
    assert bench.refused(1, is_certain=True, started=sent) is WAITS
    assert bench.hold.probe_at <= bench.now


def test_held_again_soon_goes_on_with_the_pauses() -> None:
    """A partner that says yes and no in turn is not asked every second for ever."""
    bench = Bench()
    bench.step("token 1")
    bench.step("+1")
    bench.step("200")
    bench.step("+0.5")
    bench.step("token 1")
    assert bench.hold.probe_at - bench.now == 2 * FIRST_S
    bench.step("+1")
    bench.step("200")
    bench.step("+1000")
    bench.step("token 1")
    assert bench.hold.probe_at - bench.now == FIRST_S


def test_windows_begin_anew_where_the_hold_ends() -> None:
    """So that none ran on; an operator's word ends it as well as a delivery."""
    bench = Bench()
    bench.step("token 1")
    bench.step("+3600")
    bench.hold.release(bench.now)
    assert (bench.hold.is_held, bench.hold.ended_at) == (False, bench.now)
    bench.step("+1")
    bench.hold.release(bench.now)
    assert bench.hold.ended_at == bench.now - 1, "it was not held"


def test_a_restart_probes_at_once() -> None:
    """It may have been what mended it; until that is known the hold goes on."""
    bench = Bench()
    bench.hold.restore(40.0, "invalid_grant", 0.0, bench.now)
    assert bench.hold.is_held
    assert bench.hold.probe_at <= bench.now
    assert bench.step("token 1") is WAITS
    assert bench.hold.probe_at > bench.now


def test_what_is_remembered_is_bounded() -> None:
    """A destination that refuses every other event costs no memory."""
    bench = Bench()
    for event in range(4 * MOST_REFUSED):
        bench.step(f"401 {event}")
        bench.step("200")
    assert len(bench.hold._refused) == MOST_REFUSED
