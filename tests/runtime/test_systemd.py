"""systemd's two protocols, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.runtime.systemd import Notifier, SocketsError, inherited_sockets


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end: a datagram socket at `tmp_path/notify`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def environ(manager: socket.socket) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), "KEPT": "1"}


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_each_state_is_told(manager: socket.socket, environ: dict[str, str]) -> None:
    """Readiness, stopping and status arrive as systemd spells them, one datagram each."""
    notifier = Notifier.from_environment(environ)
    notifier.ready("4 workers\nMAINPID=1")
    assert received(manager) == ["READY=1", "STATUS=4 workers MAINPID=1"]
    notifier.stopping()
    assert received(manager) == ["STOPPING=1"]
    notifier.status("draining")
    assert received(manager) == ["STATUS=draining"]
    notifier.close()


def test_a_reload_carries_the_monotonic_time(
    manager: socket.socket, environ: dict[str, str]
) -> None:
    """`RELOADING=1` comes with MONOTONIC_USEC, without which Type=notify-reload ignores it."""
    notifier = Notifier.from_environment(environ)
    notifier.reloading()
    told = received(manager)
    assert told[0] == "RELOADING=1"
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", told[1])
    notifier.close()


def test_abstract_sockets_are_reached() -> None:
    """`@name` is the abstract socket of that name."""
    name = f"bulkhead-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"})
        notifier.ready()
        assert received(listening) == ["READY=1"]
        notifier.close()


def test_without_systemd_nothing_is_sent() -> None:
    """Every call is silent where NOTIFY_SOCKET is not set."""
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.ping()
    assert notifier.ping_every_s is None


def test_a_manager_that_went_away_does_no_harm(manager: socket.socket, tmp_path: Path) -> None:
    """A notification that nobody takes keeps nobody waiting, and the service goes on."""
    notifier = Notifier(manager.getsockname())
    (tmp_path / "notify").unlink()
    notifier.ready()
    notifier.close()


def test_a_manager_that_does_not_read_blocks_nothing(manager: socket.socket) -> None:
    """A full socket costs notifications, never time."""
    notifier = Notifier(manager.getsockname())
    for _ in range(10_000):
        notifier.ping()
    notifier.close()


def test_an_odd_address_is_named() -> None:
    """A NOTIFY_SOCKET that is no socket's name is an error that quotes it."""
    with pytest.raises(SocketsError, match="'relative/path'"):
        Notifier.from_environment({"NOTIFY_SOCKET": "relative/path"})


def test_the_environment_is_left_clean(environ: dict[str, str]) -> None:
    """What was read is removed, so that no child takes itself for the service."""
    environ |= {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    Notifier.from_environment(environ).close()
    assert environ == {"KEPT": "1"}


@pytest.mark.parametrize(
    ("extra", "every_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_pings_come_at_half_the_time(
    environ: dict[str, str], extra: dict[str, str], every_s: float | None
) -> None:
    """The watchdog is fed twice in its time, where it is set and meant for this process."""
    notifier = Notifier.from_environment({**environ, **extra})
    assert notifier.ping_every_s == every_s
    notifier.close()


async def test_a_living_loop_pings(manager: socket.socket, environ: dict[str, str]) -> None:
    """`keep_alive` pings again and again while the event loop runs."""
    notifier = Notifier.from_environment({**environ, "WATCHDOG_USEC": "20000"})
    pinging = asyncio.create_task(notifier.keep_alive())
    for _ in range(3):
        assert await asyncio.to_thread(received, manager) == ["WATCHDOG=1"]
    pinging.cancel()
    notifier.close()


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "20000"}], ids=["none", "pings"])
async def test_a_state_that_was_not_taken_is_told_again(
    manager: socket.socket, environ: dict[str, str], watchdog: dict[str, str]
) -> None:
    """In order, of each the last one, until systemd reads again; it asks for nothing by itself."""
    notifier = Notifier.from_environment({**environ, **watchdog})
    for _ in range(10_000):
        notifier.status("full")
    notifier.ready("started")
    for round_ in range(1000):
        notifier.reloading()
        notifier.ready(f"round {round_}")
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            assert received(manager) == ["STATUS=full"]
    alive = asyncio.create_task(notifier.keep_alive())
    manager.settimeout(5)
    told = [await asyncio.to_thread(received, manager) for _ in range(2)]
    assert [lines[0] for lines in told] == ["RELOADING=1", "READY=1"]
    assert told[1][1] == "STATUS=round 999"
    alive.cancel()
    notifier.close()


async def test_a_state_that_nobody_took_is_told_with_the_last_word(
    manager: socket.socket, environ: dict[str, str]
) -> None:
    """A service that stops as systemd reads late still says that it does."""
    notifier = Notifier.from_environment(environ)
    for _ in range(10_000):
        notifier.status("full")
    notifier.stopping("draining")
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while received(manager) == ["STATUS=full"]:
            continue
    notifier.close()
    assert received(manager)[0] == "STOPPING=1"


async def test_keep_alive_ends_at_once_without_systemd() -> None:
    """There is nobody to tell."""
    await asyncio.wait_for(Notifier(None).keep_alive(), 5)


# --- sockets -----------------------------------------------------------------


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def passed(*sockets: socket.socket) -> int:
    """Put copies of the sockets on descriptors that follow each other, as systemd does."""
    # Past what else this process may have open: a copy over one of those would close it.
    first = 900
    for offset, given in enumerate(sockets):
        os.dup2(given.fileno(), first + offset)
    return first


def environment(count: int, names: str | None = None) -> dict[str, str]:
    env = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
    return env if names is None else {**env, "LISTEN_FDNAMES": names}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["api", "admin"]),
        ("bulkhead.socket:bulkhead.socket", ["api", "admin"]),
        ("admin:api", ["admin", "api"]),
    ],
)
def test_sockets_are_matched_by_name_or_order(names: str | None, expected: list[str]) -> None:
    """Our names decide where they are given, the order where they are not."""
    with listener() as one, listener() as two:
        taken = inherited_sockets(environment(2, names), passed(one, two))
        assert [given.name for given in taken] == expected
        assert [given.socket.getsockname() for given in taken] == [
            one.getsockname(),
            two.getsockname(),
        ]
        for given in taken:
            assert not given.socket.get_inheritable()
            given.socket.close()


def test_one_socket_is_the_tracking_apis() -> None:
    """A single socket without a name of ours is the tracking API's."""
    with listener() as one:
        (taken,) = inherited_sockets(environment(1), passed(one))
        assert taken.name == "api"
        taken.socket.close()


def test_sockets_for_another_process_are_left_alone() -> None:
    """A LISTEN_PID that is not ours means that nothing was passed to us."""
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "KEPT": "1"}
    assert inherited_sockets(env) == ()
    assert env == {"KEPT": "1"}
    assert inherited_sockets({}) == ()


@pytest.mark.parametrize("names", ["api", "api:api", "api:other"])
def test_half_a_naming_is_refused(names: str) -> None:
    """Names that leave it open which socket is which are an error."""
    with listener() as one, listener() as two, pytest.raises(SocketsError, match="FDNAMES"):
        inherited_sockets(environment(2, names), passed(one, two))


@pytest.mark.parametrize("count", ["3", "x", "-1", "999999"])
def test_a_wrong_count_is_refused(count: str) -> None:
    """There are two listeners at most."""
    with pytest.raises(SocketsError, match="LISTEN_FDS"):
        inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


def test_a_socket_that_does_not_listen_is_refused() -> None:
    """Datagram sockets, silent sockets and pipes are errors that say what to change."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        first = passed(datagram)
        with pytest.raises(SocketsError, match="ListenStream"):
            inherited_sockets(environment(1), first)
    with socket.socket() as connected:
        first = passed(connected)
        with pytest.raises(SocketsError, match="Accept=no"):
            inherited_sockets(environment(1), first)
    reading, writing = os.pipe()
    with pytest.raises(SocketsError, match="no socket"):
        inherited_sockets(environment(1), reading)
    for fd in (reading, writing):
        os.close(fd)
