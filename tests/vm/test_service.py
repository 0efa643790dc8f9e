"""The shipped unit on a real systemd, from its start to its end."""

from __future__ import annotations

import os
import re
import signal

from tests.harness.waiting import wait_until
from tests.vm.conftest import Sink
from tests.vm.unit import SERVICE, SINK_PORT, WITHIN_S, Unit, run

#: Most exposure that `systemd-analyze security` may see, of 10.
MOST_EXPOSED = 2.0


def to_sink(*, workers: int = 2, **connection: object) -> dict[str, dict[str, object]]:
    """A config whose only connection is a webhook to the sink."""
    return {
        "pools.default": {
            "destinations": ["*"],
            "workers": workers,
            "allow": [f"127.0.0.1:{SINK_PORT}"],
            "block_timeout": "20s",
        },
        "connections.hook": {
            "source": "website",
            "destination": "webhooks",
            "settings": {"url": f"http://127.0.0.1:{SINK_PORT}/"},
            **connection,
        },
    }


def test_systemd_finds_nothing_wrong_with_the_units() -> None:
    """`systemd-analyze verify` prints nothing."""
    units = ("bulkhead.service", "bulkhead.socket")
    printed = run("systemd-analyze", "verify", *(f"/etc/systemd/system/{unit}" for unit in units))
    assert printed == ""


def test_the_unit_is_hardened() -> None:
    """`systemd-analyze security` sees little exposure."""
    last = run("systemd-analyze", "security", "--no-pager", SERVICE).strip().splitlines()[-1]
    print(last)
    found = re.search(r"bulkhead\.service: ([0-9.]+)", last)
    assert found is not None, last
    assert float(found[1]) <= MOST_EXPOSED, last


def test_it_delivers_as_a_user_that_exists_only_while_it_runs(unit: Unit, sink: Sink) -> None:
    """Events arrive; the supervisor is not root, and its state is nobody else's."""
    unit.install(to_sink())
    unit.start()
    unit.send([f"m{n}" for n in range(50)])
    unit.wait_for_delivery(50)
    assert sink.received == {f"m{n}": 1 for n in range(50)}
    assert os.stat(f"/proc/{unit.pid}").st_uid != 0
    assert os.stat("/var/lib/private/bulkhead").st_mode & 0o777 == 0o700
    assert unit.show("StatusText") == "1 connections in 1 pools"


def test_a_reload_is_over_when_the_new_config_holds(unit: Unit, sink: Sink) -> None:
    """`systemctl reload` returns after the change, and no process was replaced."""
    unit.install(to_sink(workers=1))
    unit.start()
    pid = unit.pid
    assert len(unit.admin("/status")["pools"][0]["workers"]) == 1
    unit.configure(to_sink(workers=2))
    run("systemctl", "reload", SERVICE)
    assert len(unit.admin("/status")["pools"][0]["workers"]) == 2
    assert unit.pid == pid


def test_a_supervisor_that_hangs_is_restarted(unit: Unit, sink: Sink) -> None:
    """One that does not pat the watchdog is killed, another starts, and nothing is lost."""
    unit.install(to_sink())
    unit.drop_in("[Service]\nWatchdogSec=10s\n")
    unit.start()
    sink.gate.clear()
    unit.send([f"m{n}" for n in range(20)])
    hung = unit.pid
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: unit.pid not in (0, hung), WITHIN_S, "another supervisor runs")
    sink.gate.set()
    wait_until(lambda: unit.show("ActiveState") == "active", WITHIN_S, "it is ready")
    unit.wait_for_delivery(20)
    assert set(sink.received) == {f"m{n}" for n in range(20)}


def test_a_stop_drains(unit: Unit, sink: Sink) -> None:
    """Deliveries in flight at `systemctl stop` end; what was not begun is there after a start."""
    unit.install(to_sink(max_concurrency=1, batch_events=1))
    unit.start()
    sink.gate.clear()
    unit.send([f"m{n}" for n in range(10)])
    wait_until(lambda: sink.arrived > 0, WITHIN_S, "a delivery is in flight")
    run("systemctl", "stop", "--no-block", SERVICE)
    wait_until(
        lambda: "draining" in unit.show("StatusText"), WITHIN_S, "systemd is told of the drain"
    )
    sink.gate.set()
    wait_until(lambda: unit.show("ActiveState") == "inactive", WITHIN_S, "it has stopped")
    assert unit.show("Result") == "success"
    unit.start()
    unit.wait_for_delivery(10)
    assert sink.received == {f"m{n}": 1 for n in range(10)}


def test_the_socket_outlives_the_service(unit: Unit, sink: Sink) -> None:
    """A client that sends while the service is down waits, and is answered by the next one."""
    unit.install(to_sink())
    unit.start()
    run("systemctl", "stop", SERVICE)
    assert run("systemctl", "is-active", "bulkhead.socket").strip() == "active"
    unit.send(["while-down"])  # the socket starts it
    unit.wait_for_delivery(1)
    assert sink.received == {"while-down": 1}
