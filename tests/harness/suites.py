"""The summary by destination: a suite that fails is seen at once, and the rest is seen to run.

Owns which test belongs to which destination's suite, and the lines at the end of
a run in which there were several.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

_SUITE = re.compile(r"(?:^|/)tests/destinations/(?P<name>[a-z0-9_]+)(?:/|$)")


class Suites:
    """A pytest plugin: counts outcomes by destination."""

    def __init__(self) -> None:
        self._outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test has ended."""
        if report.when == "call" or report.outcome != "passed":
            self._note(report.nodeid, report.outcome)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module was imported, or not."""
        if report.outcome == "failed":
            self._note(report.nodeid, "not imported")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line a destination, where several were tested."""
        if len(self._outcomes) < 2:
            return
        terminalreporter.section("destinations")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> list[str]:
        """`✓ mixpanel, 41 passed`; `✗ marketo, 2 failed, 39 passed`."""
        lines = []
        for name, outcomes in sorted(self._outcomes.items()):
            mark = "✗" if outcomes["failed"] or outcomes["not imported"] else "✓"
            counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()) if n)
            lines.append(f"{mark} {name.replace('_', '-')}, {counts}")
        return lines

    def _note(self, nodeid: str, outcome: str) -> None:
        if found := _SUITE.search(nodeid.partition("::")[0].rpartition("/")[0]):
            self._outcomes[found["name"]][outcome] += 1
