"""Unmodified SDKs of Segment, RudderStack and Customer.io work by changing the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.harness.service import WRITE_KEY, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until

HERE = Path(__file__).parent
DRIVERS = HERE / "drivers"
#: Filled by scripts/test from legacy.lock.
LEGACY_PACKAGES = HERE.parent.parent / ".venv" / "legacy-sdk"
EVENTS = 1_000
#: How long an SDK may take to send them, and the service to deliver them, in seconds.
SEND_TIMEOUT_S = 90.0
DELIVERY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Sdk:
    """One SDK: the program that drives it, and a path that exists where it is installed."""

    package: str
    program: Sequence[str]
    installed: Path
    environment: dict[str, str] = field(default_factory=dict)

    def skip_unless_installed(self) -> None:
        """Skip the test, saying why, where the program or the package is missing."""
        if shutil.which(self.program[0]) is None:
            pytest.skip(f"{self.program[0]} is not installed")
        if not self.installed.exists():
            pytest.skip(f"{self.package} is not installed; ./scripts/test setup does it")


def python_sdk(package: str, module: str) -> Sdk:
    """An SDK of PyPI that is part of the test requirements."""
    return Sdk(package, (sys.executable, str(DRIVERS / "python_sdk.py"), module), DRIVERS)


def node_sdk(package: str) -> Sdk:
    """An SDK of npm."""
    return Sdk(
        package,
        ("node", str(DRIVERS / "node_sdk.mjs"), package),
        HERE / "node_modules" / package,
    )


SDKS = (
    python_sdk("segment-analytics-python", "segment.analytics"),
    python_sdk("rudder-sdk-python", "rudderstack.analytics"),
    Sdk(
        "analytics-python",
        (sys.executable, str(DRIVERS / "python_sdk.py"), "analytics"),
        LEGACY_PACKAGES / "analytics",
        {"PYTHONPATH": str(LEGACY_PACKAGES)},
    ),
    node_sdk("@segment/analytics-node"),
    node_sdk("@rudderstack/rudder-sdk-node"),
    node_sdk("@customerio/cdp-analytics-node"),
)


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.package)
def test_every_event_arrives_exactly_once(
    sdk: Sdk, running_service: StartService, sink: SinkProcess
) -> None:
    """A thousand mixed events of an unmodified SDK each arrive once, and the books balance."""
    sdk.skip_unless_installed()
    service = running_service(webhook_sections(sink.url))

    sent = subprocess.run(
        [*sdk.program, service.url, WRITE_KEY, str(EVENTS)],
        env=os.environ | sdk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SEND_TIMEOUT_S,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr

    service.wait_for(lambda books: books["pending"] == 0, DELIVERY_TIMEOUT_S)
    wait_until(
        lambda: len(sink.received()) >= EVENTS, DELIVERY_TIMEOUT_S, f"the sink has {EVENTS} ids"
    )
    received = sink.received()
    assert len(received) == EVENTS
    assert set(received.values()) == {1}

    books = service.books()
    assert books["accepted"] == EVENTS
    assert books["delivered_first_try"] == EVENTS
    audit = service.command("audit", "--config", str(service.config_path))
    assert audit.returncode == 0, audit.stdout + audit.stderr
