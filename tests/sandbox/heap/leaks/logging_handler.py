"""A log handler that keeps records, with their arguments."""

from __future__ import annotations

import logging

from tests.sandbox.heap.leaks.events import EVENTS, event


class Recent(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def main() -> None:
    log = logging.getLogger("partner.client")
    log.propagate = False
    log.addHandler(Recent())
    for number in range(EVENTS):
        log.error("no answer for %s", event(number))
