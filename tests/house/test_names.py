"""One name for one class in the whole house, in the field's words.

Both tables of what is not so yet are ceilings: they may only shrink. Who renames a
class takes its line out; a test says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.walking.figures import public_classes
from scripts.walking.imports import read

ROOT = Path(__file__).parents[2]
#: Where names count. Destinations are siblings that never meet: only their kit does.
PACKAGES = ("supervisor", "sandbox", "destinations/kit")

#: Words that the house has given up as names of classes, and what the field says instead.
RETIRED: Mapping[str, str] = {
    "Accused": "Suspected",
    "Attention": "Responsiveness",
    "BlackBox": "MarkerPage",
    "Bucket": "TokenBucket",
    "Buried": "DeadLettered for a delivery, Reaped for a worker",
    "Bury": "DeadLetter for a delivery, Reap for a worker",
    "Calling": "PromoteJob",
    "Case": "Bisection",
    "Certificate": "ExitRecord",
    "Child": "Worker or WorkerLifecycle",
    "Court": "FaultAttribution",
    "Crew": "Capacity",
    "Culprit": "Attributed",
    "Desk": "EgressSession",
    "Evidence": "Diagnostics",
    "Force": "WorkerFleet",
    "Gather": "Collect",
    "Gathered": "Collected",
    "Gatherer": "Collector",
    "Guard": "Watchdog",
    "Hogs": "NoisyNeighbours",
    "Holds": "BackoffStore",
    "Inquest": "Attribution",
    "Judge": "Settlement",
    "Lane": "Connection, ConnectionSchedule or ConnectionBacklog",
    "Letter": "DeadLetter",
    "Letters": "DeadLetters",
    "Post": "PoolWorker",
    "Premises": "Resources",
    "Reach": "EgressPolicy",
    "Shell": "Runner",
    "Silence": "BlockedLoopTimer",
    "Sizing": "BatchSizer",
    "Standing": "TrustState",
    "Stray": "Unhandled for an exception, Orphan for a process",
    "Suspect": "SuspectedDelivery",
    "Suspects": "SuspectedDeliveries",
    "Talk": "Wire",
    "Told": "BatchResult, or the noun of what was told",
    "Trial": "DryRun, Probe or SelfTest: it was all three",
    "Try": "DryRun, Resend or SelfTest: it was all three",
    "Turns": "FairQueue",
    "Upkeep": "Maintenance",
    "Verdict": "Settlement, or Disposition for the value",
    "Witness": "CoLocated",
    "Workforce": "WorkerFleet",
}

#: Classes that bear one of these words still.
STILL_RETIRED = frozenset(
    {
        "Bury",
        "EvidenceFailed",
        "Letter",
        "Suspect",
    }
)

#: Names that several modules give to a class of their own still, and how many do.
STILL_SHARED: Mapping[str, int] = {
    "About": 2,
    "Counts": 2,
    "Delivered": 2,
    "Delivery": 2,
    "Endpoint": 2,
    "Event": 2,
    "Kind": 2,
    "Leak": 2,
    "Limits": 2,
    "Page": 3,
    "Person": 2,
    "Ready": 2,
    "Rejected": 2,
    "Retry": 2,
    "Route": 2,
    "Row": 2,
    "Rule": 2,
    "Service": 2,
    "Snapshot": 2,
    "Unresolved": 2,
    "Unsupported": 2,
}

_WORD = re.compile(r"[A-Z][a-z0-9]*")
#: Terms of the field with a word in them that says too little alone.
_TERM = re.compile("DeadLetter|TokenBucket")


@pytest.fixture(scope="module")
def classes() -> dict[str, tuple[str, ...]]:
    """Each public class, and the modules that define one of that name."""
    return public_classes(read(ROOT, PACKAGES).values())


def retired_words(name: str) -> set[str]:
    """Which words of a class's name are given up."""
    return {name, *_WORD.findall(_TERM.sub("", name))} & RETIRED.keys()


def test_no_name_has_two_homes(classes: Mapping[str, tuple[str, ...]]) -> None:
    """A new class does not bear a name that a class of another module has."""
    found = {
        name: homes for name, homes in classes.items() if len(homes) > STILL_SHARED.get(name, 1)
    }
    assert not found, f"give the new one a name of its own, one that says what it is of: {found}"


def test_no_new_class_bears_a_retired_word(classes: Mapping[str, tuple[str, ...]]) -> None:
    """A new class is called as the field calls such a thing."""
    found = {
        f"{homes[0]}.{name}": [f"{word}: say {RETIRED[word]}" for word in words]
        for name, homes in classes.items()
        if (words := sorted(retired_words(name))) and name not in STILL_RETIRED
    }
    assert not found, f"these words are given up: {found}"


def test_ceilings_are_no_higher_than_they_must_be(classes: Mapping[str, tuple[str, ...]]) -> None:
    """What has been renamed leaves the tables, so that the old name cannot come back."""
    shared = {
        name: len(classes.get(name, ()))
        for name, most in STILL_SHARED.items()
        if len(classes.get(name, ())) < most
    }
    assert not shared, f"lower these in STILL_SHARED, or take them out where one is left: {shared}"
    renamed = STILL_RETIRED - classes.keys()
    assert not renamed, f"take these out of STILL_RETIRED: {sorted(renamed)}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Lane", {"Lane"}),
        ("LaneStatus", {"Lane"}),
        ("PoolShell", {"Shell"}),
        ("BlackBox", {"BlackBox"}),
        ("DeadLetterFilter", set()),
        ("TokenBucket", set()),
        ("Planet", set()),
        ("PostponedBatch", set()),
    ],
)
def test_words(name: str, words: set[str]) -> None:
    """A word counts as a whole, wherever it stands in the name."""
    assert retired_words(name) == words
