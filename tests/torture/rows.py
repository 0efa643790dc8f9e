"""The torture list: what destinations do wrong, and what is to become of it.

Owns the one table that tests and benchmarks walk. A row's bad connection and a
harmless neighbour share a pool of their own; the habits are in
`plugins/torture.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"


@dataclass(frozen=True, slots=True)
class Row:
    """One habit. Texts are regular expressions that are searched for.

    `exits` is the reason of the worker's exit, None where it has to live;
    `detail` and `stacks` are of that exit. `error` is what `explain` says of
    the bad event, "" where it is not said in time. `pool` adds to the pool's
    keys, `bad_events` are sent among nine others, and end in quarantine where that
    is said.
    """

    habit: str
    exits: str | None
    detail: str = ""
    stacks: str = ""
    error: str = ""
    pool: Mapping[str, object] = field(default_factory=dict)
    bad_events: int = 1
    is_quarantined: bool = False

    @property
    def name(self) -> str:
        """What its pool, source and test are called."""
        return self.habit.replace("_", "-")


ROWS = (
    # --- time ---
    Row(
        "awaits_for_ever",
        exits=None,
        error=r"not finished within 0\.5 s",
        pool={"batch_timeout": "500ms"},
    ),
    Row(
        "spins",
        exits="timeout",
        detail=r"event loop was blocked .*event \d of its batch",
        stacks=r"in spins\b",
        error="timeout",
    ),
    Row(
        "sleeps",
        exits="timeout",
        detail=r"event loop was blocked .*event \d of its batch",
        stacks=r"in sleeps\b",
        error="timeout",
    ),
    Row(
        "holds_the_gil",
        exits="timeout",
        detail=r"event loop was blocked .*event \d of its batch",
        stacks=r"in holds_the_gil\b",
        error="timeout",
    ),
    Row("ignores_signals", exits="timeout", detail="event loop was blocked", error="timeout"),
    Row(
        "swallows_cancellation",
        exits="timeout",
        detail="it does not end when it is cancelled",
        error=r"not finished within 0\.5 s",
        pool={"batch_timeout": "500ms"},
    ),
    # --- raising ---
    Row("raises", exits=None, error="ValueError: no good"),
    Row("raises_in_a_task", exits=None),
    Row("raises_in_a_callback", exits=None),
    Row("raises_in_del", exits=None),
    Row("raises_in_a_thread", exits=None),
    Row("raises_base_exception", exits=None, error="Odd: not even an Exception"),
    Row("exits_politely", exits=None, error="SystemExit: 3"),
    # --- dying: the bad event is found, and ends in quarantine ---
    Row("exits_in_a_task", exits="crash", is_quarantined=True),
    Row("exits", exits="crash", detail="exit status 3", is_quarantined=True),
    Row("aborts", exits="signal", detail="SIGABRT", stacks=r"in aborts\b", is_quarantined=True),
    Row(
        "segfaults", exits="signal", detail="SIGSEGV", stacks=r"in segfaults\b", is_quarantined=True
    ),
    Row("overflows_the_stack", exits="signal", detail="SIGSEGV", is_quarantined=True),
    Row("kills_itself", exits="signal", detail="SIGKILL", is_quarantined=True),
)
