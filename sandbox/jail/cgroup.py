"""Layer `cgroup`: this process in a control group of its own, which the supervisor has made.

What holds in the group (memory, processes, share of the CPU) is set there by
the supervisor; see `supervisor/workers/resources/cgroups.py`.
"""

from __future__ import annotations

from pathlib import Path

from sandbox.protocol import Withheld


def join(group: str | Withheld) -> str:
    """Move this process, and so all that it forks; "on", or why not."""
    match group:
        case Withheld(reason=reason):
            return reason
        case path:
            pass
    try:
        (Path(path) / "cgroup.procs").write_text("0")
        current = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not any(line.startswith("0::") and path.endswith(line[3:]) for line in current):
        return f"not in force: still in {', '.join(current)}"
    return "on"
