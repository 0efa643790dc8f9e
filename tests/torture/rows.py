"""The torture list: what destinations do wrong, and what is to become of it.

Owns the tables that tests and benchmarks walk. A row's bad connection and a
harmless neighbour share a pool of their own; the habits are in
`plugins/torture.py`, modules that are bad to import in `plugins/imports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"


@dataclass(frozen=True, slots=True)
class Row:
    """One habit. Texts are regular expressions that are searched for.

    `exits` is the reason of the worker's exit, None where it has to live; `detail`
    and `stacks` are of that exit. `error` is what `explain` says of the bad event;
    under the connection's name, the log has `stray` of what was raised where
    nobody catches, and `logs` of what it wrote. `pool` and `connection` add to the
    keys of the pool and of the bad connection. `bad_events` are sent among nine
    others; they end in quarantine, or are delivered, where that is said. Where `is_found_by_trial`,
    an exit may name nobody as long as one names the bad connection; where
    `names_nobody`, none may name anybody.
    """

    habit: str
    exits: str | None
    detail: str = ""
    stacks: str = ""
    error: str = ""
    stray: str = ""
    logs: str = ""
    pool: Mapping[str, object] = field(default_factory=dict)
    connection: Mapping[str, object] = field(default_factory=dict)
    bad_events: int = 1
    is_quarantined: bool = False
    are_delivered: bool = False
    is_found_by_trial: bool = False
    names_nobody: bool = False

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
    Row("blocks_for_a_moment", exits=None, are_delivered=True),
    Row("takes_many_short_steps", exits=None, are_delivered=True),
    # --- raising ---
    Row("raises", exits=None, error="ValueError: no good"),
    Row("raises_in_a_task", exits=None, stray="ValueError: from a task", are_delivered=True),
    Row("raises_in_a_callback", exits=None, stray="from a callback", are_delivered=True),
    Row("raises_in_del", exits=None, stray="from __del__", are_delivered=True),
    Row("raises_in_a_thread", exits=None, stray="from a thread", are_delivered=True),
    Row("exits_in_a_task", exits=None, stray="SystemExit: 3", are_delivered=True),
    Row("exits_in_a_callback", exits=None, stray="SystemExit: 4", are_delivered=True),
    Row("stops_the_loop", exits=None, stray="event loop was stopped", are_delivered=True),
    Row("raises_base_exception", exits=None, error="Odd: not even an Exception"),
    Row("exits_politely", exits=None, error="SystemExit: 3"),
    # --- dying: the bad event is found, and ends in quarantine ---
    Row("exits", exits="crash", detail="exit status 3", is_quarantined=True),
    Row("aborts", exits="signal", detail="SIGABRT", stacks=r"in aborts\b", is_quarantined=True),
    Row(
        "segfaults", exits="signal", detail="SIGSEGV", stacks=r"in segfaults\b", is_quarantined=True
    ),
    Row("overflows_the_stack", exits="signal", detail="SIGSEGV", is_quarantined=True),
    Row(
        "kills_itself",
        exits="signal",
        detail="SIGKILL",
        is_quarantined=True,
        # The first time it may have been anybody outside.
        is_found_by_trial=True,
    ),
    # --- memory ---
    Row(
        "leaks",
        exits="leak",
        detail=r"leaks-bad leaks \d+ bytes an event",
        # A megabyte a batch. Two workers are used up before it is certain who leaks, and another
        # one is to be charged.
        pool={"memory_limit": "128MiB", "memory_soft_limit": "64MiB", "workers": 1},
        connection={"max_concurrency": 1},
        bad_events=2_000,
        are_delivered=True,
    ),
    Row(
        "allocates_at_once",
        exits="oom",
        detail="MemoryError",
        # It says so itself, or its worker is ended before it does.
        error="deliver raised MemoryError|worker exited: oom|quarantined",
        pool={"memory_limit": "128MiB", "memory_soft_limit": "96MiB"},
        is_found_by_trial=True,
    ),
    Row(
        "allocates_without_end",
        exits="oom",
        # It hangs where nothing is left to raise with, and not every root may lift its limit then.
        # Or it takes more than it may leave as evidence, before it is seen to hang.
        detail=r"MemoryError|it hung at its limit of memory|it used \d+ of \d+ MiB of memory",
        error="deliver raised MemoryError|worker exited: oom|it hung at its limit|quarantined",
        # A busy machine takes more than a second to fill so much.
        pool={"memory_limit": "128MiB", "memory_soft_limit": "96MiB", "block_timeout": "30s"},
        is_found_by_trial=True,
    ),
    Row(
        "hoards",
        exits="oom",
        detail=r"it (hung at its limit of|used \d+ of \d+ MiB of) memory",
        pool={"memory_limit": "64MiB", "memory_soft_limit": "48MiB", "block_timeout": "30s"},
        is_found_by_trial=True,
    ),
    Row(
        "maps_shared_memory",
        exits=None,
        error="PermissionError: .*no-uncounted-memory",
        logs="no-uncounted-memory",
        pool={"memory_limit": "64MiB", "memory_soft_limit": "48MiB"},
    ),
    # --- output ---
    Row("prints", exits=None, logs="x{100}", are_delivered=True),
    Row("prints_past_python", exits=None, logs="y{100}", are_delivered=True),
    Row("logs_without_end", exits=None, logs="z{100}", are_delivered=True),
    # --- files, threads, processes ---
    Row("writes_a_scratch_file", exits=None, logs="scratch: 3 of 3", are_delivered=True),
    Row(
        "fills_its_scratch_folder",
        exits="limit",
        detail=r"\d+ bytes in its scratch folder",
        is_found_by_trial=True,
    ),
    Row(
        "keeps_unlinked_files",
        exits="limit",
        detail=r"\d+ bytes in its scratch folder",
        pool={"max_open_files": 512},
        is_found_by_trial=True,
    ),
    Row(
        "nests_folders",
        exits="limit",
        detail=r"more than \d+ files|folders more than \d+ deep",
        is_found_by_trial=True,
    ),
    Row(
        "leaks_files",
        exits="limit",
        detail=r"\d+ of 128 open files",
        pool={"max_open_files": 128},
        is_found_by_trial=True,
    ),
    Row("starts_threads", exits=None, error="can't start new thread"),
    Row(
        "forks_without_end",
        exits="limit",
        detail=r"started \d+ process(es)? of its own",
        is_found_by_trial=True,
    ),
    Row(
        "forks_with_memory",
        exits="limit",
        detail=r"started \d+ process(es)? of its own",
        is_found_by_trial=True,
    ),
    Row(
        "orphans_a_child",
        exits="limit",
        detail=r"started \d+ process(es)? of its own",
        is_found_by_trial=True,
    ),
    Row("leaves_a_child", exits="crash", detail="exit status 5", is_quarantined=True),
    # --- what it says in its worker's name ---
    Row(
        "forges_out_of_memory",
        exits="oom",
        detail="MemoryError: not at all",
        # The neighbour is in the same worker.
        pool={"workers": 1},
        are_delivered=True,
        names_nobody=True,
    ),
    Row("forges_too_many_files", exits=None, pool={"workers": 1}, are_delivered=True),
    # --- outcomes ---
    Row("too_few_outcomes", exits=None, error=r"\d+ outcomes for \d+ events"),
    Row("too_many_outcomes", exits=None, error=r"\d+ outcomes for \d+ events"),
    Row("wrong_outcomes", exits=None, error="is not an outcome"),
)


@dataclass(frozen=True, slots=True)
class Import:
    """A module of `plugins/imports`. Texts are regular expressions that are searched for.

    `why` is what its connection says; `exits`, `detail` and `stacks` are of the worker
    that was to tell what the destination is.
    """

    module: str
    why: str
    exits: str
    detail: str
    stacks: str = ""

    @property
    def name(self) -> str:
        """What its pool and source are called."""
        return f"import-{self.module}"


IMPORTS = (
    Import(
        "hangs",
        why=r"importing it ended the worker \(timeout",
        exits="timeout",
        detail="the import took longer than 5 s",
        stacks=r"hangs\.py",
    ),
    Import(
        "slow",
        why=r"importing it ended the worker \(timeout",
        exits="timeout",
        detail="the import took longer than 5 s",
        stacks=r"slow\.py",
    ),
    Import(
        "raises",
        why="raised RuntimeError: no good, from the import",
        exits="drain",
        detail="import-raises-bad could not be loaded: .*no good, from the import",
    ),
    Import(
        "exits",
        why=r"importing it ended the worker \(crash: exit status 3\)",
        exits="crash",
        detail="exit status 3",
    ),
)
