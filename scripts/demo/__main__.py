"""The demonstration of ./scripts/run: tapes, the service, and a shop's events, in one terminal.

Owns the processes and their order: everybody's servers from tapes, then the
service, then events. When the service ends, or this is told to, all end. Standard
library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "demo" / "bulkhead.toml"
CA_FILE = ROOT / ".cache" / "replay-ca.pem"
TAPES = sorted(ROOT.glob("tests/destinations/*/tapes/accepted-doc.yaml"))
BULKHEAD = (sys.executable, "-m", "supervisor")
PARTNERS = "127.0.0.1:9001"
READY = "http://127.0.0.1:8190/ready"
#: Events a second; enough to see something, and little for any machine.
RATE = 20
#: Seconds that a part may take to start, and to end once it is told to.
START_S, STOP_S = 60.0, 40.0
_PR_SET_PDEATHSIG = 1

NEXT = """
Bulkhead runs with config/demo/bulkhead.toml; Ctrl-C stops it. A shop's events go to eight
destinations, whose servers are played from tapes, and to a ninth, shop-leaky, that keeps all it
sees in memory: within a minute it is named, then its worker is replaced. From another terminal:

  what goes on, pool by pool     ./scripts/run status --watch
  whose worker ends, and why     ./scripts/run status --exits
  what fills a worker's memory   ./scripts/run heap default-1 -o w.heapsnapshot
                                 ./scripts/run heap report w.heapsnapshot
  an event of your own           curl -u demo-write-key: http://127.0.0.1:8190/v1/track \\
                                   -d '{"userId": "ann", "event": "Hello", "messageId": "first"}'
  where it is, and why           ./scripts/run explain first
                                 (it waits for a server of yours on port 9000, see README.md)
  what failed for good           ./scripts/run deadletters list
  do the books balance           ./scripts/run audit

"""


class Failed(Exception):
    """A part did not start; the text says which."""


def main() -> int:
    """Run it all; the service's exit status, 1 where something did not start."""
    # As an exception, so that whatever was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    CA_FILE.parent.mkdir(exist_ok=True)
    service: subprocess.Popen[bytes] | None = None
    try:
        with (
            tapes_served(),
            started(*BULKHEAD, "run", "--config", str(CONFIG)) as service,
        ):
            await_ready(service)
            print(NEXT, file=sys.stderr, flush=True)
            with shop():
                service.wait()
    except Failed as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit):
        pass  # the way to stop it; what was started has been told to end
    return 0 if service is None or service.returncode is None else service.returncode


@contextlib.contextmanager
def tapes_served() -> Iterator[None]:
    """Everybody's servers. Raises Failed where they cannot be."""
    replay = (*BULKHEAD, "replay", *map(str, TAPES), "--listen", PARTNERS)
    extra = ("--ca-file", str(CA_FILE), "--latency", "5ms..40ms")
    with started(*replay, *extra, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        # It says where it listens once it does; its reason not to is on standard error already.
        if not process.stdout.readline():
            raise Failed(f"the tapes are not served on {PARTNERS}")
        yield


@contextlib.contextmanager
def shop() -> Iterator[None]:
    """Events of the shop, through the tracking API."""
    with started(sys.executable, "scripts/demo/shop.py", stdout=subprocess.PIPE) as visitors:
        send = (*BULKHEAD, "send", "-", "--write-key", "shop-write-key", "--rate", str(RATE))
        with started(*send, stdin=visitors.stdout, stdout=subprocess.DEVNULL, quiet=True):
            assert visitors.stdout is not None
            visitors.stdout.close()  # the sender's alone now, so that its end ends the other
            yield


@contextlib.contextmanager
def started(
    *command: str,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | None = None,
    quiet: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own: a terminal's Ctrl-C is for us, and we end it in turn."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL if quiet else None,
        preexec_fn=end_with_parent,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for what does not heed it. A second Ctrl-C does not wait."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def await_ready(service: subprocess.Popen[bytes]) -> None:
    """Return once it takes events. Raises Failed where it ends, or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise Failed("the service did not start")
        with contextlib.suppress(OSError), urllib.request.urlopen(READY, timeout=5):
            return
        time.sleep(0.1)
    raise Failed(f"the service is not ready after {START_S:g} s")


if __name__ == "__main__":
    sys.exit(main())
