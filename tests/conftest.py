"""What all tests share: a running service, a sink behind it, and CI's rule about skips.

Must not hold what only one folder of tests needs.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.manager import ServiceManager
from tests.harness.service import RunningService
from tests.harness.sink import SinkProcess
from tests.harness.suites import Suites

#: Reasons that a test may be skipped for in CI: what no installation could change there.
SKIPS_ALLOWED_IN_CI = ("needs root", "needs a user other than root", "this kernel has no")

#: Folders whose tests take longest, for they wait for processes.
SLOW = ("torture", "process", "jail", "heap", "scripts", "sdk", "dryrun")

# A busy machine takes its time for an example; what must be fast says so itself.
settings.register_profile("bulkhead", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bulkhead")

StartService = Callable[[Mapping[str, Mapping[str, object]]], RunningService]


def pytest_configure(config: pytest.Config) -> None:
    """The summary of destinations' suites; and Ctrl-C ends what tests start, as users know it."""
    # What a shell starts in the background ignores it, and so would all that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Suites(), "suites")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests, the slow ones come first.

    So none is left over with one process when the others have nothing more to do.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in SLOW)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, as workers are; pytest's own lie in a closed one."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-test-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def sink() -> Iterator[SinkProcess]:
    """A real HTTP server that counts message ids."""
    with SinkProcess() as process:
        yield process


@pytest.fixture
def managed(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    """systemd is played for every service of a test, whose watchdog would have ended none of them.

    What each says of itself has to be in order, too: READY once, then once for each reload.
    """
    with ServiceManager() as manager:
        for name, value in manager.environment.items():
            monkeypatch.setenv(name, value)
        yield manager
        assert not manager.faults()


@pytest.fixture
def running_service(tmp_path: Path) -> Iterator[StartService]:
    """Starts `bulkhead run` on free ports with the given config sections and waits for /ready.

    Afterwards each service is stopped by SIGTERM, and has to exit with status 0.
    """
    with ExitStack() as stack:
        started: list[RunningService] = []

        def start(sections: Mapping[str, Mapping[str, object]]) -> RunningService:
            service = RunningService(tmp_path / f"service-{len(started)}", sections)
            started.append(service)
            stack.callback(service.kill)
            return service.start()

        yield start
        for service in started:
            if service.is_started:
                service.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is skipped silently: a test that could not run there has failed."""
    report = yield
    return _forbid_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for whole modules."""
    report = yield
    return _forbid_skip(report)


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _forbid_skip(report: Report) -> Report:
    if os.environ.get("CI") != "true" or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed in reason for allowed in SKIPS_ALLOWED_IN_CI):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report
