"""The states of a worker as a diagram, from what its machine does.

Owns the diagram's form and its place: between two markers of supervisor/README.md,
whose other text it leaves alone. What is in it is found out by giving each event to
the machine in each state, so that it cannot be another than the code's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # for `python scripts/diagrams.py`, which begins below it
    sys.path.insert(0, str(ROOT))

from supervisor.core.lifecycle import worker_state as machine  # noqa: E402 - found by the line above

PAGE = ROOT / "supervisor" / "README.md"
BEGIN = "<!-- the states of a worker: written by ./scripts/diagrams -->"
END = "<!-- end of the states of a worker -->"

#: Names of all states, in the order of the code.
STATES = tuple(state.name for state in machine.ProcessState)
#: A value for each type that events have fields of; which one makes no difference to the state.
_SAMPLES: dict[type, object] = {int: 1, str: ""}


@dataclass(frozen=True, slots=True)
class Transition:
    """One event in one state, and what the machine makes of it: names, as in the code."""

    state: str
    event: str
    after: str
    effects: tuple[str, ...]

    @property
    def is_ignored(self) -> bool:
        """The event changes nothing."""
        return self.state == self.after and not self.effects


def transitions() -> Iterator[Transition]:
    """Every pair of state and event that can be, in the order of the code."""
    for state in machine.ProcessState:
        for event in get_args(machine.Event):
            process = machine.WorkerLifecycle(state=state)
            try:
                effects = process.handle(_sample(event))
            except machine.Impossible:
                continue
            yield Transition(
                state.name,
                event.__name__,
                process.state.name,
                tuple(type(effect).__name__ for effect in effects),
            )


def _sample(event: Any) -> machine.Event:  # Any: one of the classes that `Event` is made of
    hints = get_type_hints(event)
    made: machine.Event = event(**{one.name: _value(hints[one.name]) for one in fields(event)})
    return made


def _value(kind: type) -> object:
    return next(iter(kind)) if issubclass(kind, Enum) else _SAMPLES[kind]


def render() -> str:
    """The diagram in Mermaid's notation, as Markdown shows it, and what is not drawn in it.

    https://mermaid.js.org/syntax/stateDiagram.html
    """
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {machine.WorkerLifecycle().state.name}"]
    arrows: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    ignored: dict[str, list[str]] = {}
    for one in transitions():
        if one.is_ignored:
            ignored.setdefault(one.state, []).append(one.event)
        else:
            arrows.setdefault((one.state, one.after, one.effects), []).append(one.event)
    for (state, after, effects), events in arrows.items():
        does = f" / {', '.join(effects)}" if effects else ""
        lines.append(f"    {state} --> {after}: {', '.join(events)}{does}")
    left = {state for state, after, _ in arrows if state != after}
    lines += [f"    {state} --> [*]" for state in STATES if state not in left]
    lines += [
        "```",
        "",
        "An arrow bears the events that lead along it and, behind the slash, the effects. An event",
        "that a state has no arrow for cannot come there, but for these, which change nothing:",
        "",
        *(f"- `{state}`: {', '.join(events)}" for state, events in ignored.items()),
    ]
    return "\n".join(lines)


def placed(page: str) -> str:
    """The page with the diagram between its markers. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the diagram: {BEGIN} and {END} must stand in it")
    return f"{before}{BEGIN}\n{render()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the diagram, or with `--check` compare it."""
    if arguments not in ([], ["--check"]):
        print("usage: scripts/diagrams [--check]", file=sys.stderr)
        return 2
    found = PAGE.read_text()
    try:
        wanted = placed(found)
    except ValueError as error:
        print(f"{PAGE.relative_to(ROOT)}: {error}", file=sys.stderr)
        return 1
    if not arguments:
        PAGE.write_text(wanted)
        print(f"wrote {PAGE.relative_to(ROOT)}")
        return 0
    if found != wanted:
        print(
            f"{PAGE.relative_to(ROOT)} is not what the code says: run ./scripts/diagrams",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
