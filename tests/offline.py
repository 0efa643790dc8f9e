"""Runs suites with no network at all: `python -m tests.offline [pytest arguments]`.

By default those of the destinations, on two cores. They are run in a network
namespace of their own that has a loopback interface and nothing else, so that
a test which speaks to the internet fails; how long it took is printed. It takes
root, or a kernel that lets users have namespaces; where there is neither, this
is skipped and says so, or fails with CI=true.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time

import pytest

DEFAULT = ["tests/destinations", "-q", "-n", "2"]
#: Ways into a namespace: as root, and as a user who is root in it.
_WAYS = (["--net"], ["--user", "--map-root-user", "--net"])
_INSIDE = "--inside"
# linux/sockios.h, linux/if.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
#: An address for documentation: nothing ever listens there (RFC 5737).
_NOWHERE = ("192.0.2.1", 80)


def main(arguments: list[str]) -> int:
    """Run in a namespace; the exit code is pytest's, or 0 where it was skipped."""
    if arguments[:1] == [_INSIDE]:
        return _inside(arguments[1:] or DEFAULT)
    unshare = shutil.which("unshare")
    for way in _WAYS if unshare is not None else ():
        enter = [str(unshare), *way]
        if subprocess.run([*enter, "true"], capture_output=True).returncode == 0:
            command = [*enter, sys.executable, "-m", "tests.offline", _INSIDE, *arguments]
            return subprocess.run(command).returncode
    print("offline: skipped: this machine lets nobody have a network namespace", file=sys.stderr)
    return 1 if os.environ.get("CI") == "true" else 0


def _inside(arguments: list[str]) -> int:
    raise_loopback()
    _prove_empty()
    started = time.monotonic()
    code = pytest.main(arguments)
    wall_s = time.monotonic() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(f"offline: {wall_s:.1f} s ({cpu_s:.1f} s of CPU) without a network")
    return int(code)


def raise_loopback() -> None:
    """A new namespace has the interface, but it is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))


def _prove_empty() -> None:
    """Raises AssertionError where there is a way out."""
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with socket.socket() as out:
        assert out.connect_ex(_NOWHERE) == errno.ENETUNREACH


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
