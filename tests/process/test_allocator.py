"""What a burst has allocated goes back to the system, whatever lies between."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from itertools import pairwise

import pytest

#: A large block is freed, after which glibc by itself takes all that are smaller from its heap;
#: then many of these, between small ones that stay. Prints resident bytes before and after.
SCRIPT = """
import os, sys
from supervisor.runtime import allocator

if sys.argv[1] == "settled":
    allocator.settle()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

del (block := [bytes(16 * 1024 * 1024)])[:]
before = resident()
kept, burst = [], []
for _ in range(200):
    burst.append(bytearray(256 * 1024))
    kept.append(bytearray(1024))
burst.clear()
print(before, resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_what_a_burst_leaves_goes_back() -> None:
    """50 MB come and go between small blocks that stay: that many are kept without, not with it."""
    grown = {}
    for how in ("settled", "as it is"):
        told = subprocess.run(
            [sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True
        )
        ((before, after),) = pairwise(map(int, told.stdout.split()))
        grown[how] = after - before
    assert grown["settled"] < 5 * 1024 * 1024, grown
    assert grown["as it is"] > 40 * 1024 * 1024, grown
