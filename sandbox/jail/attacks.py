"""Which layers stop what destinations with intent try: the table, and how it is run.

Owns the list by which the jail is judged: by its own self-test, by the tests and
by `scripts/bench escape`. The attempts themselves are `attempts.py`'s,
`native_attempts.py`'s and `memory_attempts.py`'s; each runs in a fork of its own.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sandbox.jail import attempts, memory_attempts, native_attempts
from sandbox.jail.attempts import Targets


@dataclass(frozen=True, slots=True)
class Attack:
    """`attempt` raises OSError where it is stopped. `needs` names the target that it takes.

    Any one of the layers in `stopped_by` is enough, or all of `stopped_together`.
    `is_for_root`: the kernel itself stops an ordinary user.
    """

    name: str
    attempt: Callable[[Targets], None]
    stopped_by: frozenset[str]
    is_for_root: bool = False
    needs: str = ""
    stopped_together: frozenset[str] = frozenset()


def run(targets: Targets, attacks: Iterable[Attack]) -> dict[str, int]:
    """Try each in a fork of its own: the errno that stopped it, 0 where nothing did.

    One whose target is missing is left out. A fork that dies by a signal was
    stopped; its signal's number is the result, negative.
    """
    found = {}
    for attack in attacks:
        if attack.needs and getattr(targets, attack.needs) in ("", 0, -1):
            continue
        child = os.fork()
        if child == 0:
            _attempt(attack, targets)
        _, status = os.waitpid(child, 0)
        found[attack.name] = os.waitstatus_to_exitcode(status)
    return found


def expected(attack: Attack, layers: Iterable[str], *, is_root: bool) -> bool:
    """Whether the table says that it is stopped where `layers` are in force.

    A process that is not root has no other user to become, so that `uid` is no help; what
    takes being no root as well is stopped by the rest.
    """
    if attack.is_for_root and not is_root:
        return True
    active = {layer for layer in layers if is_root or layer != "uid"}
    together = attack.stopped_together - (frozenset() if is_root else {"uid"})
    return bool(attack.stopped_by & active) or (bool(together) and together <= active)


def _attempt(attack: Attack, targets: Targets) -> None:
    code = errno.EIO
    try:
        signal.alarm(5)
        attack.attempt(targets)
        code = 0
    except OSError as error:
        code = error.errno or errno.EIO
    except MemoryError:
        code = errno.ENOMEM
    finally:
        os._exit(code)


def _by(*layers: str) -> frozenset[str]:
    return frozenset(layers)


#: The table. A worker that was not started by root keeps its user: for it `uid` stops nothing.
ATTACKS = (
    Attack("read a file that others may read", attempts.read_secret, _by("landlock")),
    Attack("read /etc/shadow", attempts.read_root_secret, _by("landlock", "uid"), is_for_root=True),
    Attack("read the supervisor's environment", attempts.read_environment, _by("landlock", "uid")),
    Attack("open the supervisor's memory", attempts.read_foreign_memory, _by("landlock", "uid")),
    Attack("read a descriptor left open", attempts.read_leaked, _by("descriptors"), needs="leaked"),
    Attack("list processes", attempts.list_processes, _by("landlock")),
    Attack("list the root folder", attempts.list_root, _by("landlock")),
    Attack(
        "write to own memory past its protection", attempts.write_own_memory, _by("landlock", "uid")
    ),
    Attack(
        "open a file by handle", attempts.open_by_handle, _by("seccomp", "uid"), is_for_root=True
    ),
    Attack("make a file", attempts.create_file, _by("landlock"), needs="folder"),
    Attack("write to a file", attempts.write_file, _by("landlock"), needs="victim"),
    Attack(
        "truncate a file by its path", attempts.truncate, _by("landlock", "seccomp"), needs="victim"
    ),
    Attack("chmod a file", attempts.chmod, _by("seccomp", "uid"), needs="victim"),
    Attack("set a file's times", attempts.touch, _by("seccomp", "uid"), needs="victim"),
    Attack("set a file's attributes", attempts.set_attribute, _by("seccomp"), needs="victim"),
    Attack("link a file", attempts.link, _by("landlock"), needs="victim"),
    Attack("make a symbolic link", attempts.symlink, _by("landlock", "seccomp"), needs="folder"),
    Attack("execute a program", native_attempts.execute, _by("seccomp", "landlock")),
    Attack(
        "execute the dynamic loader", native_attempts.execute_loader, _by("seccomp", "landlock")
    ),
    Attack("make a file in memory", native_attempts.make_memory_file, _by("seccomp")),
    Attack("execute a file in memory", native_attempts.execute_memory, _by("seccomp", "landlock")),
    Attack(
        "execute a program that runs as root",
        native_attempts.execute_set_uid,
        _by("seccomp", "landlock"),
        stopped_together=_by("no_new_privs", "uid"),
        needs="set_uid",
    ),
    Attack("map memory to write and execute", native_attempts.map_executable, _by("seccomp")),
    Attack("make memory executable", native_attempts.protect_executable, _by("seccomp")),
    Attack("map a file to execute", native_attempts.map_file, _by("seccomp")),
    Attack("make a mapped file executable", native_attempts.protect_file, _by("seccomp")),
    Attack("make memory executable by a key", native_attempts.protect_by_key, _by("seccomp")),
    Attack("attach shared memory to execute", native_attempts.attach_executable, _by("seccomp")),
    Attack("have all memory executable", native_attempts.persona, _by("seccomp")),
    Attack("mount", attempts.mount, _by("seccomp", "uid", "landlock"), is_for_root=True),
    Attack("chroot", attempts.chroot, _by("seccomp", "uid"), is_for_root=True),
    Attack("make a user namespace", attempts.unshare_user, _by("seccomp")),
    Attack(
        "make a mount namespace", attempts.unshare_mounts, _by("seccomp", "uid"), is_for_root=True
    ),
    Attack("fork into a user namespace", attempts.clone_user, _by("seccomp")),
    Attack("fork into a user namespace, by clone3", attempts.clone3_user, _by("seccomp")),
    Attack("enter a namespace", attempts.enter_namespace, _by("seccomp", "uid"), is_for_root=True),
    Attack("join a keyring", attempts.join_keyring, _by("seccomp")),
    Attack("add a key", attempts.add_key, _by("seccomp")),
    Attack("bpf", attempts.bpf, _by("seccomp", "uid"), is_for_root=True),
    Attack("perf_event_open", attempts.perf, _by("seccomp")),
    Attack("io_uring", attempts.io_uring, _by("seccomp"), stopped_together=_by("rlimits", "uid")),
    Attack("userfaultfd", attempts.userfaultfd, _by("seccomp")),
    Attack(
        "load a kernel module", attempts.load_module, _by("seccomp", "uid"), True, needs="modules"
    ),
    Attack("signal the supervisor", attempts.signal_process, _by("seccomp", "landlock", "uid")),
    Attack("signal its thread", attempts.signal_thread, _by("seccomp", "landlock", "uid")),
    Attack("signal it by queue", attempts.signal_by_queue, _by("seccomp", "landlock", "uid")),
    Attack("signal it by descriptor", attempts.signal_by_pidfd, _by("seccomp", "landlock", "uid")),
    Attack("have the kernel signal it", attempts.signal_by_owner, _by("seccomp")),
    Attack("renice the supervisor", attempts.renice, _by("seccomp", "uid")),
    Attack("pin the supervisor to a core", attempts.pin, _by("seccomp", "uid")),
    Attack("look at the supervisor's limits", attempts.limit_other, _by("seccomp", "uid")),
    Attack("trace the supervisor", attempts.trace, _by("seccomp", "landlock", "uid")),
    Attack("read its memory by call", attempts.read_by_call, _by("seccomp", "landlock", "uid")),
    Attack("outlive the supervisor", attempts.outlive, _by("seccomp")),
    Attack("adopt orphans", attempts.adopt, _by("seccomp")),
    Attack("leave the session", attempts.leave_session, _by("seccomp")),
    Attack("make the supervisor a child", attempts.clone_for_parent, _by("seccomp")),
    Attack("connect by TCP", attempts.tcp, _by("seccomp", "landlock"), needs="tcp_port"),
    Attack(
        "connect by IPv4 in IPv6", attempts.tcp_mapped, _by("seccomp", "landlock"), needs="tcp_port"
    ),
    Attack("connect by MPTCP", attempts.mptcp, _by("seccomp"), needs="tcp_port"),
    Attack("connect by MSG_FASTOPEN", attempts.fast_open, _by("seccomp"), needs="tcp_port"),
    Attack("send by UDP", attempts.udp, _by("seccomp"), needs="udp_port"),
    Attack("listen on a port", attempts.listen, _by("seccomp", "landlock")),
    Attack("listen on any port", attempts.listen_unbound, _by("seccomp")),
    Attack("bind a UDP port", attempts.bind_udp, _by("seccomp")),
    Attack("a raw socket", attempts.family(2, 3, 1), _by("seccomp", "uid"), is_for_root=True),
    Attack("a packet socket", attempts.family(17, 3, 0), _by("seccomp", "uid"), is_for_root=True),
    Attack("a netlink socket", attempts.family(16, 3, 0), _by("seccomp")),
    Attack(
        "speak to an abstract socket",
        attempts.abstract,
        _by("seccomp", "landlock"),
        needs="abstract",
    ),
    Attack("speak to a UNIX socket", attempts.unix, _by("seccomp"), needs="unix_path"),
    Attack(
        "speak to a UNIX socket by a pair",
        attempts.unix_datagram,
        _by("seccomp"),
        needs="unix_datagram_path",
    ),
    Attack("become root", attempts.become_root, _by("seccomp", "uid"), is_for_root=True),
    Attack("gain a capability", attempts.gain_capability, _by("seccomp", "uid"), is_for_root=True),
    Attack("take a gigabyte of disk at once", attempts.allocate_disk, _by("seccomp")),
    Attack("hold a file in a socket", attempts.hide_descriptor, _by("seccomp")),
    Attack("take memory that counts as a stack", memory_attempts.take_stack, _by("seccomp")),
    Attack("map shared memory", memory_attempts.map_shared, _by("seccomp")),
    Attack("map shared memory of /dev/zero", memory_attempts.map_zeros, _by("landlock")),
    Attack("map huge pages", memory_attempts.map_huge, _by("seccomp")),
    Attack("take ten gigabytes", memory_attempts.take_memory, _by("rlimits")),
)
