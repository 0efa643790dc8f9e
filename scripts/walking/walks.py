"""What a walk is: the modules that a journey passes, in the order of its calls.

Owns the counting and the printed form of a trace. Pure: calls come in, figures
go out; how they were recorded is `journeys`' and `recorder`'s.

A walk has the calls of all functions but those that run when nothing is to do,
too: timers belong to no journey. The walk *changes module* whenever a call goes
to another module than the call before it in the same thread, and *goes back* where
that is a module that it has been to before. So changes are modules and ways back
together: a walk that passes each module once never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the service: its module, and its qualified name there."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """A call, or a return, of a function, by a thread at a time of `time.monotonic`."""

    at_s: float
    thread: int
    function: Function
    is_call: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """The figures of one journey. `seconds` are those from its first call to its last."""

    modules: tuple[str, ...]
    changes: int
    calls: int
    seconds: float

    @property
    def returns(self) -> int:
        """Changes of module that went to one where the walk had been before."""
        return self.changes - len(self.modules)

    def by_room(self) -> dict[str, int]:
        """How many of the modules are in which package below the first; those in none: `""`."""
        counted = Counter(
            module.split(".")[1] if module.count(".") > 1 else "" for module in self.modules
        )
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def busy_steps(steps: Sequence[Step], idle: Collection[Function]) -> list[Step]:
    """The steps of functions that do not run when nothing is to do."""
    return [step for step in steps if step.function not in idle]


def until_quiet(steps: Sequence[Step], after_s: float, gap_s: float) -> list[Step]:
    """The steps up to the first pause of `gap_s` that begins at `after_s` or later."""
    kept: list[Step] = []
    for step in steps:
        if kept and step.at_s - max(kept[-1].at_s, after_s) >= gap_s:
            break
        kept.append(step)
    return kept


def within(steps: Sequence[Step], function: str) -> list[Step]:
    """Those steps that were taken while a function of this qualified name was on the stack.

    What a coroutine does after it has waited counts, since it is on the stack again then; what
    it has left to be done later, by a task or a callback, does not.
    """
    kept: list[Step] = []
    depths: Counter[int] = Counter()
    for step in steps:
        is_it = step.function.name == function
        if is_it and step.is_call:
            depths[step.thread] += 1
        if depths[step.thread]:
            kept.append(step)
        if is_it and not step.is_call:
            depths[step.thread] -= 1
    return kept


def walk(steps: Sequence[Step]) -> Walk:
    """Count a journey of these steps."""
    calls = [step for step in steps if step.is_call]
    changes = sum(
        sum(1 for _ in groupby(step.function.module for step in calls if step.thread == thread))
        for thread in {step.thread for step in calls}
    )
    return Walk(
        modules=tuple(dict.fromkeys(step.function.module for step in calls)),
        changes=changes,
        calls=len(calls),
        seconds=calls[-1].at_s - calls[0].at_s if calls else 0.0,
    )


def crossings(steps: Sequence[Step]) -> Counter[tuple[str, str]]:
    """How often the walk changed between two modules, in either direction; their names sorted."""
    counted: Counter[tuple[str, str]] = Counter()
    last: dict[int, str] = {}
    for step in steps:
        if step.is_call:
            module = step.function.module
            before = last.setdefault(step.thread, module)
            if before != module:
                counted[min(before, module), max(before, module)] += 1
            last[step.thread] = module
    return counted


def trace(steps: Sequence[Step]) -> Iterator[str]:
    """The calls as lines, indented by who called; of each thread but the first, its number."""
    depths: Counter[int] = Counter()
    threads: dict[int, str] = {}
    for step in steps:
        name = threads.setdefault(step.thread, f"[{len(threads)}] " if threads else "")
        if step.is_call:
            since_ms = (step.at_s - steps[0].at_s) * 1e3
            yield f"{since_ms:9.3f} ms {'  ' * depths[step.thread]}{name}{step.function}"
            depths[step.thread] += 1
        else:
            # What was on the stack when the record began returns without having been called.
            depths[step.thread] = max(0, depths[step.thread] - 1)
