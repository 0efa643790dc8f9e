"""What goes wrong on purpose, so that a service can be watched while it does. Pure.

Owns the notation of faults and the choice which request gets one. Chance comes
in from outside, so that a run with the same seed goes wrong in the same way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_RULE = re.compile(
    r"(?:(?P<host>[^=@]+)@)?(?P<kind>[a-z0-9]+)=(?:(?P<percent>\d+(?:\.\d+)?)%|1/(?P<every>\d+))"
)


class Kind(Enum):
    """How a request fails."""

    THROTTLED = "429"
    BROKEN = "500"
    HANGS = "hang"
    CUT = "cut"


class FaultError(ValueError):
    """A rule that cannot be read; the text says what is wanted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests fail: a `probability`, 0 to 1, or every `every`-th; of one host or all."""

    kind: Kind
    probability: float | None = None
    every: int | None = None
    host: str | None = None


def parse(text: str) -> Rule:
    """`429=5%`, `hang=1/100`, `api.mixpanel.com@500=10%`. Raises FaultError."""
    found = _RULE.fullmatch(text.strip())
    kinds = {kind.value: kind for kind in Kind}
    if found is None or found["kind"] not in kinds:
        raise FaultError(
            f"{text!r} is no fault; write one of {', '.join(kinds)} with a share, like 429=5% or "
            "cut=1/100, and a host in front where only one is meant: api.example.com@500=10%"
        )
    kind, host = kinds[found["kind"]], found["host"]
    if found["percent"] is not None:
        probability = float(found["percent"]) / 100
        if probability > 1:
            raise FaultError(f"{text!r}: more than 100% is not possible")
        return Rule(kind, probability=probability, host=host)
    every = int(found["every"])
    if every < 1:
        raise FaultError(f"{text!r}: every 0th request is none; write 1/1 for all")
    return Rule(kind, every=every, host=host)


class Faults:
    """Decides about one request after the other. `latency_s` is the least and the most."""

    def __init__(
        self, rules: Sequence[Rule], latency_s: tuple[float, float], chance: random.Random
    ) -> None:
        self._rules = rules
        self._latency_s = latency_s
        self._chance = chance
        self._counts = [0] * len(rules)

    def next(self, host: str) -> tuple[float, Kind | None]:
        """Seconds that the next answer of `host` takes, and how it fails; None where it does not.

        Where several rules hold, the first one counts.
        """
        least, most = self._latency_s
        latency_s = least if least == most else self._chance.uniform(least, most)
        kind: Kind | None = None
        for index, rule in enumerate(self._rules):
            if rule.host is not None and rule.host != host:
                continue
            self._counts[index] += 1
            # Chance is asked in any case, so that one rule's luck does not change another's.
            hit = (
                self._chance.random() < rule.probability
                if rule.probability is not None
                else rule.every is not None and self._counts[index] % rule.every == 0
            )
            if hit and kind is None:
                kind = rule.kind
        return latency_s, kind
