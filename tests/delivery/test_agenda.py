"""Effects are carried out in turn, and never inside each other."""

from __future__ import annotations

import pytest

from supervisor.delivery.agenda import Agenda


class Loop:
    """A loop whose facts decide effects by a table, and whose effects add what another says."""

    def __init__(self, decides: dict[str, list[str]], adds: dict[str, list[str]]) -> None:
        self.agenda: Agenda[str, str] = Agenda()
        self.log: list[str] = []
        self._decides, self._adds = decides, adds
        self._depth = 0

    def decide(self, fact: str) -> list[str]:
        self.log.append(f"decide {fact}")
        return self._decides.get(fact, [])

    def perform(self, effect: str) -> None:
        assert not self._depth, "carried out inside another"
        self._depth += 1
        self.log.append(f"perform {effect}")
        for added in self._adds.get(effect, []):
            if added.isupper():
                self.agenda.tell(added)
            else:
                self.agenda.do([added])
        self._depth -= 1


def test_all_effects_of_a_decision_come_before_the_next_fact() -> None:
    """What an effect adds waits its turn: effects first, then facts, each in order."""
    loop = Loop({"A": ["a1", "a2"], "B": ["b"]}, {"a1": ["B", "x"], "x": ["y"]})
    loop.agenda.attach(loop.decide, loop.perform)
    loop.agenda.tell("A")
    assert loop.log == [
        "decide A", "perform a1", "perform a2", "perform x", "perform y", "decide B", "perform b",
    ]  # fmt: skip


def test_what_is_due_before_the_loop_is_there_waits_for_it() -> None:
    """The parts of a pool are given the agenda while they are made."""
    loop = Loop({"A": ["a"]}, {})
    loop.agenda.tell("A")
    loop.agenda.do(["first"])
    assert loop.log == []
    loop.agenda.attach(loop.decide, loop.perform)
    assert loop.log == ["perform first", "decide A", "perform a"]


def test_a_bug_reaches_its_caller_and_costs_no_other_effect() -> None:
    """What is left is carried out when the loop is set going again."""
    agenda: Agenda[str, str] = Agenda()
    done = []

    def perform(effect: str) -> None:
        if effect == "bug":
            raise ValueError("a bug")
        done.append(effect)

    agenda.attach(lambda _: [], perform)
    with pytest.raises(ValueError, match="a bug"):
        agenda.do(["one", "bug", "two"])
    agenda.do(["three"])
    assert done == ["one", "two", "three"]
