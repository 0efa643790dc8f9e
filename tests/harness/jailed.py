"""The attack list against the jail with some layers left out, in processes of its own.

Run as a program, since a jail is entered before any thread exists: prints JSON
of `{set of layers: {attack: errno that stopped it, 0 where nothing did}}`. Needs
root, to be root and to become an ordinary user.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox import jail, process
from sandbox.jail import attacks, openings, paths
from sandbox.jail.attacks import ATTACKS
from sandbox.jail.attempts import Targets
from sandbox.protocol import Limits, Spawn, Withheld

ROOT = Path(__file__).resolve().parent.parent.parent
#: Layers that a process may enter by itself.
TRIED = ("descriptors", "rlimits", "uid", "no_new_privs", "landlock", "seccomp")
#: An ordinary user: "nobody" on every Linux.
ORDINARY_UID = 65_534
WORKER_UID = 1_900_000_007
_PR_SET_DUMPABLE = 4

Results = Mapping[str, Mapping[str, int]]


def sets() -> dict[str, tuple[str, ...]]:
    """The sets of layers that are tried, by name."""
    found: dict[str, tuple[str, ...]] = {"none": (), "all": TRIED}
    for layer in TRIED:
        found[f"without {layer}"] = tuple(other for other in TRIED if other != layer)
        # Unprivileged, Landlock and seccomp need no_new_privs; it stops one attack by itself.
        found[f"only {layer}"] = tuple(dict.fromkeys(("no_new_privs", layer)))
    del found["without no_new_privs"]  # an ordinary user gets neither of the two then
    return found


def results(who: str) -> Results:
    """Run it as `who`, "root" or "user". Raises CalledProcessError with its output."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.harness.jailed", who],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found: Results = json.loads(done.stdout)
    return found


def faults(found: Results, *, is_root: bool) -> list[str]:
    """Where the table and the kernel disagree; one line each."""
    return [
        f"{name}: {attack.name}: "
        + (f"stopped by errno {code}" if code else "got through")
        + ", the table says otherwise"
        for name, layers in sets().items()
        for attack in ATTACKS
        if (code := found[name].get(attack.name)) is not None
        and bool(code) != attacks.expected(attack, layers, is_root=is_root)
    ]


def main(who: str) -> None:
    """Set up what there is to attack, and let one fork after another try."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-jail-") as made:
        folder = Path(made)
        folder.chmod(0o777)
        targets, held = _targets(folder)
        # A fork, so that the folder can be removed by who made it.
        child = os.fork()
        if child == 0:
            try:
                _try_all(targets, who)
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        for sock in held:
            sock.close()


def _try_all(targets: Targets, who: str) -> None:
    openings.open_up((*paths.code(), str(ROOT)))
    if who == "user":
        os.setgroups([])
        os.setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
        os.setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID)
        # As a program that this user has started: its own may look at it.
        process.prctl(_PR_SET_DUMPABLE, 1)
        victim = Path(targets.victim)
        victim.unlink()  # one of this user's own takes its place
        victim.write_text("victim")
    targets = dataclasses.replace(targets, supervisor=os.getpid())
    print(json.dumps({name: _tried(layers, targets, who) for name, layers in sets().items()}))
    sys.stdout.flush()


def _targets(folder: Path) -> tuple[Targets, list[socket.socket]]:
    victim = folder / "victim"
    victim.write_text("victim")
    victim.chmod(0o666)
    set_uid = folder / "test"
    shutil.copy("/usr/bin/test", set_uid)
    set_uid.chmod(0o4755)
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    abstract, named = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0bulkhead-{os.getpid()}")
    abstract.listen(100)
    named.bind(str(folder / "socket"))
    named.listen(100)
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagram.bind(str(folder / "datagram"))
    for name in ("socket", "datagram"):
        (folder / name).chmod(0o777)
    leaked = os.open("/etc/passwd", os.O_RDONLY)
    targets = Targets(
        supervisor=os.getpid(),
        folder=str(folder),
        victim=str(victim),
        leaked=leaked,
        set_uid=str(set_uid),
        tcp_port=tcp.getsockname()[1],
        udp_port=udp.getsockname()[1],
        abstract=f"bulkhead-{os.getpid()}",
        unix_path=str(folder / "socket"),
        unix_datagram_path=str(folder / "datagram"),
    )
    return targets, [tcp, udp, abstract, named, datagram]


def order_of(who: str) -> Spawn:
    """An order for a worker of `who`, with nothing that a test did not make."""
    return Spawn(
        1,
        "attacker",
        [],
        [],
        Limits(256 * 1024**2, 192 * 1024**2, 256, 1.0),
        "strict",
        None,
        declare=False,
        uid=WORKER_UID if who == "root" else Withheld("an ordinary user"),
        cgroup=Withheld("tried in the VM"),
        scratch=Withheld("none"),
        write_paths=[],
    )


def _tried(layers: Sequence[str], targets: Targets, who: str) -> dict[str, int]:
    readable, writable = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            report = jail.enter(order_of(who), [writable], parent=parent, layers=layers)
            jail.seal("strict", report)
            wrong = {
                layer: report[layer]
                for layer in layers
                if report[layer] != "on" and not (layer == "uid" and who == "user")
            }
            found = {f"layer {layer} is {why}": 0 for layer, why in wrong.items()}
            os.write(writable, json.dumps(found | attacks.run(targets, ATTACKS)).encode())
        finally:
            os._exit(0)
    os.close(writable)
    with open(readable, "rb") as pipe:
        answer: dict[str, int] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return answer


if __name__ == "__main__":
    main(sys.argv[1])
