"""What goes wrong on purpose."""

from __future__ import annotations

import random

import pytest

from supervisor.tapes.faults import FaultError, Faults, Kind, Rule, parse


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("429=5%", Rule(Kind.THROTTLED, probability=0.05)),
        ("500=1/3", Rule(Kind.BROKEN, every=3)),
        ("hang=0.5%", Rule(Kind.HANGS, probability=0.005)),
        ("a.example.com@cut=1/1", Rule(Kind.CUT, every=1, host="a.example.com")),
    ],
)
def test_notation(text: str, rule: Rule) -> None:
    """A fault is its kind and its share, of one host or of all."""
    assert parse(text) == rule


@pytest.mark.parametrize("text", ["", "429", "418=1%", "500=101%", "cut=1/0", "hang=x", "500=-1%"])
def test_no_fault(text: str) -> None:
    """What is no fault is refused with the text itself."""
    with pytest.raises(FaultError, match="'"):
        parse(text)


def test_every_nth() -> None:
    """Every third request of that host fails, and none of another."""
    faults = Faults([parse("a@500=1/3")], (0, 0), random.Random(1))
    kinds = []
    for _ in range(6):
        assert faults.next("b") == (0, None)
        kinds.append(faults.next("a")[1])
    assert kinds == [None, None, Kind.BROKEN] * 2


def test_the_same_seed() -> None:
    """The same seed goes wrong in the same way, and about as often as it should."""

    def run(seed: int) -> list[tuple[float, Kind | None]]:
        faults = Faults([parse("429=20%"), parse("cut=1%")], (0.1, 0.2), random.Random(seed))
        return [faults.next("a") for _ in range(1000)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 150 < sum(kind is Kind.THROTTLED for _, kind in run(1)) < 250
    assert all(0.1 <= latency_s <= 0.2 for latency_s, _ in run(1))


def test_the_first_rule_counts() -> None:
    """Where several hold, the first one does."""
    faults = Faults([parse("429=1/2"), parse("500=1/1")], (0, 0), random.Random(1))
    assert [faults.next("a")[1] for _ in range(2)] == [Kind.BROKEN, Kind.THROTTLED]
