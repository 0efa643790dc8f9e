"""What the service loads, which each start pays for, and what it never does."""

from __future__ import annotations

import subprocess
import sys

#: Code of destinations, and what plays their partners: other processes run them.
NOT_ITS_OWN = ("destinations", "supervisor.tapes", "supervisor.dryrun.dry_run", "trustme", "yaml")


def test_the_service_loads_nothing_that_runs_or_plays_a_destination() -> None:
    """Not by any way around: a dry run is a process of its own."""
    script = "import sys, supervisor.app.service; print('\\n'.join(sorted(sys.modules)))"
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, timeout=120, check=True, capture_output=True, text=True)
    loaded = ran.stdout.split()
    assert "supervisor.app.service" in loaded
    assert [
        name for name in loaded if any(f"{name}.".startswith(f"{one}.") for one in NOT_ITS_OWN)
    ] == []
