"""Three dozen small mistakes in tables, bounds and conditions of `core/isolation`: which are found.

Run by hand, `python -m tests.core.isolation.mutations`, at the top of the repository. Each is made
in a copy, one at a time, and the tests of this folder are run there. Prints what was not found, and
exits with 1 where that is more than one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
TESTS = "tests/core/isolation"
#: What the tests need of the repository.
COPIED = ("supervisor", "sandbox", "destinations", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """`was` stands once in a module, and is replaced."""

    module: str
    was: str
    becomes: str


MUTATIONS = [
    # whose fault it was
    Mutation("isolation/attribution", "LIMIT: DeathKind.ANY", "LIMIT: DeathKind.RUNNING"),
    Mutation("isolation/attribution", "EGRESS: DeathKind.ANY", "EGRESS: DeathKind.RUNNING"),
    Mutation("isolation/attribution", "death.is_leaving and not death.overdue", "death.is_leaving"),
    Mutation("isolation/attribution", "if late and marked not in late", "if late"),
    Mutation("isolation/attribution", "unsolved >= UNSOLVED_MOST", "unsolved > UNSOLVED_MOST"),
    Mutation(
        "isolation/attribution",
        "(mark.batch == one.batch and mark.index == index)",
        "mark.index == index",
    ),
    Mutation("isolation/attribution", "len(lost) == 1 and one.size == 1", "len(lost) == 1"),
    Mutation("isolation/attribution", "if not attribution.has_died_in_probe:", "if True:"),
    Mutation("isolation/attribution", "others - present) if is_one_marked", "others) if True"),
    Mutation("isolation/attribution", "mark.connection in ended:", "False:"),
    Mutation(
        "isolation/charges",
        "        self._faults.solved(connection)\n        while",
        "        while",
    ),
    # why one is apart
    Mutation("isolation/apart", "cls(cause, before.since)", "cls(cause, now)"),
    Mutation("isolation/charges", "cause if is_meant else", "cause if True else"),
    Mutation("isolation/dedication", "            known.apart = None\n", ""),
    # trust
    Mutation(
        "isolation/trust",
        "(TrustState.UNPROVEN, TrustFact.ACCUSED): TrustState.PROBATION",
        "(TrustState.UNPROVEN, TrustFact.ACCUSED): TrustState.UNPROVEN",
    ),
    Mutation("isolation/trust", "PROOF_BATCHES_MOST = 64", "PROOF_BATCHES_MOST = 128"),
    Mutation("isolation/trust", "now >= self.quiet_from", "now > self.quiet_from"),
    Mutation("isolation/trust", "trust is TrustState.UNPROVEN and not is_alone", "False"),
    Mutation("isolation/trust", "if self.cases > 0:", "if self.cases > 1:"),
    # bisection
    Mutation("isolation/bisection", "DEATHS_ALONE = 2", "DEATHS_ALONE = 3"),
    Mutation(
        "isolation/bisection",
        "if self._deaths_alone and self.probed is None",
        "if self._deaths_alone",
    ),
    Mutation("isolation/bisection", "for index in reversed(left)", "for index in left"),
    Mutation("isolation/bisection", "if len(group) == 1 and left:", "if left:"),
    # charges and health
    Mutation("isolation/charges", "fact.retried and not fact.delivered", "fact.retried"),
    Mutation(
        "isolation/charges",
        "if trust is TrustState.TRUSTED:\n            self.set_apart",
        "if True:\n            self.set_apart",
    ),
    Mutation("isolation/charges", "if dropped := one.bisection.give_up()", "if dropped := ()"),
    Mutation("isolation/health", "AFTER_TRIP = TRIP_AT - 2.0", "AFTER_TRIP = TRIP_AT - 1.0"),
    # dedicated workers
    Mutation("placement", "is_probed=trust is TrustState.PROBATION", "is_probed=False"),
    Mutation("isolation/dedication", "idle_s(now) > IDLE_S", "idle_s(now) >= IDLE_S"),
    Mutation("isolation/dedication", "                waiting -= 1\n", ""),
    Mutation("isolation/dedication", "            and not known.suspected\n", ""),
    Mutation(
        "isolation/dedication",
        "known is not None and known.worker == worker:",
        "known is not None:",
    ),
    # the order of things
    Mutation("isolation/machine", "not was_dedicated or connection is None", "connection is None"),
    Mutation(
        "isolation/machine", "  # what is suspected found it busy until now", " if 0 else None"
    ),
    # other limits
    Mutation("isolation/grants", "not one.is_unresponsive and one.worker", "one.worker"),
    Mutation("isolation/responsiveness", "            or seen.when < self._since\n", ""),
]


def is_found(copy: Path, mutation: Mutation) -> bool:
    """Whether a test fails where this mistake is made."""
    module = copy / "supervisor" / "core" / f"{mutation.module}.py"
    text = module.read_text()
    if text.count(mutation.was) != 1:
        raise SystemExit(f"{mutation} does not stand there once")
    module.write_text(text.replace(mutation.was, mutation.becomes))
    shutil.rmtree(copy / ".hypothesis", ignore_errors=True)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", TESTS],
            cwd=copy,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
        )
    finally:
        module.write_text(text)
    if run.returncode not in (0, 1):
        raise SystemExit(run.stdout.decode() + run.stderr.decode())
    return run.returncode == 1


def main() -> int:
    """Make each, and tell."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name)
            else:
                shutil.copy(ROOT / name, copy / name)
        missed = []
        for mutation in MUTATIONS:
            if not is_found(copy, mutation):
                missed.append(mutation)
                print("NOT FOUND", mutation, flush=True)
    print(f"{len(MUTATIONS) - len(missed)} of {len(MUTATIONS)} found")
    return int(len(missed) > 1)


if __name__ == "__main__":
    sys.exit(main())
