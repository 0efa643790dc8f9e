"""systemd's side of the service: notifications out, listening sockets in.

Owns the two protocols and nothing else: sd_notify(3) datagrams to
`NOTIFY_SOCKET`, and descriptors passed by socket activation, sd_listen_fds(3).
Both are a few lines; PyPI's bindings need libsystemd's headers to build, or are
untyped and no longer kept. Without systemd everything here does nothing.

Nobody waits for systemd, and systemd asks for nothing again: a state that it had
no room for (it restarts, or reads late) is told again until it is taken, else a
service that runs would be ended for a start or a reload that never ended.

The environment variables are removed once read, so that no child takes itself
for the service.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

#: The first descriptor that systemd passes: SD_LISTEN_FDS_START.
FIRST_FD = 3
#: Names by which `FileDescriptorName=` says which listener a socket is for, in order.
LISTENERS = ("api", "admin")
#: Seconds until a state that systemd has not taken is told again, where it expects no pings.
AGAIN_S = 1.0


class SocketsError(Exception):
    """What systemd, or another, passed cannot be used; the text says what to change."""


class Notifier:
    """Tells systemd how the service fares; silent where systemd does not listen."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        """`address` as in NOTIFY_SOCKET; `watchdog_s` is how long systemd waits for a ping."""
        self._address = None if not address else _notify_address(address)
        self._watchdog_s = watchdog_s
        self._socket: socket.socket | None = None
        #: States that were not taken yet, by their first field: of each the last one counts.
        self._owed: dict[str, tuple[str, ...]] = {}
        if self._address is not None:
            # Non-blocking: a manager that does not read must not stop the event loop.
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> Notifier:
        """Read and remove NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        env = os.environ if environ is None else environ
        address = env.pop("NOTIFY_SOCKET", None)
        period_us = env.pop("WATCHDOG_USEC", "")
        pid = env.pop("WATCHDOG_PID", "")
        is_for_us = pid in ("", str(os.getpid()))
        is_period = period_us.isascii() and period_us.isdigit() and int(period_us) > 0
        return cls(address, int(period_us) / 1e6 if is_for_us and is_period else None)

    @property
    def ping_every_s(self) -> float | None:
        """Seconds between two pings: half of what systemd allows; None where it expects none."""
        if self._socket is None or self._watchdog_s is None:
            return None
        return self._watchdog_s / 2

    def ready(self, status: str = "") -> None:
        """The service takes events; also the end of a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self, status: str = "") -> None:
        """The service drains."""
        self._tell("STOPPING=1", f"STATUS={status}")

    def reloading(self, status: str = "") -> None:
        """The config is read anew; `ready` must follow. Type=notify-reload wants the time."""
        # CLOCK_MONOTONIC, which is what time.monotonic_ns reads on Linux.
        self._tell(
            "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", f"STATUS={status}"
        )

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def ping(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    async def keep_alive(self) -> None:
        """Ping for ever, from the event loop: a loop that hangs is what the watchdog is for.

        Until the process ends: a ping arms the watchdog, also of a service that stops. What is owed
        is told again, pings or not. Returns at once where systemd does not listen.
        """
        if self._socket is None:
            return
        every_s = self.ping_every_s
        while True:
            self._pay()
            if every_s is not None:
                self.ping()
            await asyncio.sleep(AGAIN_S if every_s is None else every_s)

    def close(self) -> None:
        """Give the socket back; later notifications go nowhere."""
        self._pay()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, state: str, *fields: str) -> None:
        """Tell a state, behind all that are owed."""
        self._owed.pop(state, None)
        self._owed[state] = (state, *fields)
        self._pay()

    def _pay(self) -> None:
        while self._owed:
            state = next(iter(self._owed))
            if not self._send(*self._owed[state]):
                return
            del self._owed[state]

    def _send(self, *fields: str) -> bool:
        """Whether systemd has it, or does not listen at all."""
        if self._socket is None or self._address is None:
            return True
        # A value ends at a line break: one in a status would begin another field.
        lines = (" ".join(field.splitlines()) for field in fields if not field.endswith("="))
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # A manager that restarts or is slow to read: the service goes on meanwhile.
            return False
        return True


def _notify_address(address: str) -> str:
    """`@name` is the abstract socket of that name. Raises SocketsError for what is no socket."""
    if address.startswith("@"):
        return "\0" + address[1:]
    if not address.startswith("/"):
        raise SocketsError(
            f"NOTIFY_SOCKET: {address!r} is neither an absolute path nor @NAME of an abstract "
            "socket; unset it, or let systemd set it"
        )
    return address


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A listening socket that was open before the service started; `name` is one of LISTENERS."""

    name: str
    socket: socket.socket


def inherited_sockets(
    environ: MutableMapping[str, str] | None = None, first_fd: int = FIRST_FD
) -> Sequence[InheritedSocket]:
    """Take the sockets of LISTEN_FDS, checked; empty where none were passed to this process.

    They are matched to listeners by LISTEN_FDNAMES where the names are ours,
    else by order: the first is the tracking API's, the second the admin API's.
    Raises SocketsError.
    """
    env = os.environ if environ is None else environ
    pid, count, names = (env.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count:
        return ()
    if not (count.isascii() and count.isdigit()) or int(count) > len(LISTENERS):
        raise SocketsError(
            f"LISTEN_FDS={count}: at most {len(LISTENERS)} sockets are taken, one for the tracking "
            "API and one for the admin API; check ListenStream= in the socket units"
        )
    fds = range(first_fd, first_fd + int(count))
    return tuple(
        InheritedSocket(name, _listening_socket(fd, name))
        for fd, name in zip(fds, _listener_names(names, len(fds)), strict=True)
    )


def _listener_names(given: str, count: int) -> Sequence[str]:
    names = given.split(":") if given else []
    ours = [name for name in names if name in LISTENERS]
    if not ours:
        return LISTENERS[:count]  # unnamed, or by the unit's name, as systemd does by default
    if len(names) != count or len(set(ours)) != len(names):
        raise SocketsError(
            f"LISTEN_FDNAMES={given}: each socket needs a name of its own, api or admin; set "
            "FileDescriptorName= in every socket unit or in none"
        )
    return names


def _listening_socket(fd: int, name: str) -> socket.socket:
    try:
        taken = socket.socket(fileno=fd)
    except OSError as error:
        raise SocketsError(
            f"descriptor {fd}, meant for the {name} listener, is no socket ({error.strerror}); "
            "check the socket unit"
        ) from error
    wrong = _mismatch(taken)
    if wrong is not None:
        taken.close()
        raise SocketsError(f"descriptor {fd}, meant for the {name} listener, {wrong}")
    taken.set_inheritable(False)
    taken.setblocking(False)
    return taken


def _mismatch(taken: socket.socket) -> str | None:
    """Why a socket cannot be accepted from, and which line of its unit to change."""
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if taken.family not in families or taken.type != socket.SOCK_STREAM:
        return "is no stream socket; use ListenStream= in the socket unit"
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "does not listen; use Accept=no in the socket unit"
    return None
