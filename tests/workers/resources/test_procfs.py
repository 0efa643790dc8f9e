"""What the kernel says of processes, asked of this one."""

from __future__ import annotations

import os
import subprocess
import sys

from supervisor.workers.resources.procfs import (
    adopted,
    children,
    cpu_times,
    is_dying,
    open_files,
)
from tests.harness.waiting import wait_until

PATIENCE_S = 20.0


def test_open_files_are_counted_by_the_kernel() -> None:
    """One more for each that is opened; nothing is said of a process that is gone."""
    before = open_files(os.getpid())
    assert before is not None
    ends = os.pipe()
    try:
        assert open_files(os.getpid()) == before + 2
    finally:
        for end in ends:
            os.close(end)
    assert open_files(2**22 + 1) is None


def test_times_on_cpus_are_those_of_each_thread() -> None:
    """What has run, ready now or asleep; nothing of a process that is gone."""
    own = cpu_times(os.getpid())[os.getpid()]
    assert own.is_ready
    assert own.used_s > 0.0
    with subprocess.Popen(["sleep", "60"]) as asleep:
        try:
            wait_until(
                lambda: not cpu_times(asleep.pid)[asleep.pid].is_ready, PATIENCE_S, "it sleeps"
            )
        finally:
            asleep.kill()
    assert cpu_times(asleep.pid) == {}


#: Beside threads of its own, this process adopts an orphan, and says who is whose.
ADOPTS = """
import ctypes, os, threading, time
from supervisor.workers.resources.procfs import adopted, children
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
readable, writable = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan:
        os.write(writable, str(orphan).encode())
        os._exit(0)
    time.sleep(60)
os.wait()
orphan = int(os.read(readable, 32))
assert adopted() == [orphan], adopted()
assert children() == [orphan], children()
os.kill(orphan, 9)
print("all is as it should be", flush=True)
os._exit(0)
"""


def test_orphans_are_the_first_threads() -> None:
    """However many threads there are; and so is what this one starts."""
    run = subprocess.run([sys.executable, "-c", ADOPTS], capture_output=True, check=False)
    assert run.stdout, run.stderr
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in adopted()
        assert set(adopted()) <= set(children())


def test_process_is_dying_from_the_kill_on() -> None:
    """Also where it is stopped, or has no CPU to die with; and once it is gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not is_dying(process.pid)
        process.kill()
        assert is_dying(process.pid)
    assert is_dying(process.pid)
