"""An honest batch is not late for the want of a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.watching import exits_of

PLUGINS = str(Path(__file__).parent / "plugins")
#: Busy loops that share one CPU with the worker.
HOGS = 8
#: Seconds of CPU time that a batch takes, and that it may take.
NEEDS_S, LIMIT_S = 0.3, 1.0


@pytest.fixture
def crowded_cpu() -> Iterator[int]:
    """The number of one. Each loop leads a session, so that it has as good a share as a worker."""
    cpu = min(os.sched_getaffinity(0))
    loop = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    hogs = [
        subprocess.Popen([sys.executable, "-c", loop], start_new_session=True) for _ in range(HOGS)
    ]
    yield cpu
    for hog in hogs:
        hog.kill()
        hog.wait()


@pytest.mark.skipif(
    not os.path.exists("/proc/thread-self/schedstat"), reason="this kernel has no schedstat"
)
def test_batch_has_its_time_beside_processes_that_take_the_cpu(
    running_service: StartService, crowded_cpu: int
) -> None:
    """It is delivered on the first try: it is neither cancelled nor taken from its worker."""
    service = running_service(
        {
            "service": {"plugin_paths": [PLUGINS]},
            "pools.default": {
                "destinations": ["*"],
                "workers": 1,
                "spares": 0,
                "batch_timeout": f"{LIMIT_S:g}s",
            },
            "destinations.computes": {"class": "trials:Computes"},
            "connections.honest": {
                "source": "test",
                "destination": "computes",
                "settings": {"seconds": NEEDS_S},
            },
        }
    )
    wait_until(lambda: len(service.worker_pids()) == 1, 60, "its worker is there")
    os.sched_setaffinity(service.worker_pids()[0], {crowded_cpu})
    post(service.url, [track(f"m{n}") for n in range(3)])
    wait_until(lambda: service.books()["pending"] == 0, 60, "the batch is settled")
    assert service.books()["delivered_first_try"] == 3, service.admin("/events/m0")
    assert exits_of(service, "default") == []
