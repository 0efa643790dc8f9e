"""What a thread of its own has on its stack."""

from __future__ import annotations

import threading

from tests.sandbox.heap.leaks.events import EVENTS, event


def work(ready: threading.Event) -> None:
    batch = [event(number) for number in range(EVENTS)]
    ready.set()
    threading.Event().wait()
    del batch


async def main() -> None:
    ready = threading.Event()
    threading.Thread(target=work, args=(ready,), daemon=True).start()
    ready.wait()
