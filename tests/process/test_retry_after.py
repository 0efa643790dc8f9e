"""What servers ask for by `Retry-After`, in the ways that they write it, and the real service."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import StartService
from tests.harness.waiting import wait_until
from tests.process.client import post, track

#: Shorter than any wait below: what is not understood is tried again too early.
FIRST_DELAY_S, MAX_DELAY_S = 0.05, 0.1
#: Nothing is tried for longer.
WINDOW_S = 5.0
#: What a busy machine may take beside what was asked for.
LATE_S = 20.0
#: Between two clocks of one machine, and what of a wait has passed before the answer is read.
EARLY_S = 0.1


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Wish:
    """A header's value as it is written when somebody asks, and seconds that it means at least."""

    value: Callable[[], str]
    least_s: float
    status: int = 429


WISHES = {
    "a-fraction": Wish(lambda: "1.5", 1.5),
    "a-plus": Wish(lambda: "+2", 2.0),
    "a-unit": Wish(lambda: "2s", 2.0, 503),
    "a-list": Wish(lambda: "1, 2", 2.0, 503),
    "zeros": Wish(lambda: "0000000002", 2.0),
    "quotes": Wish(lambda: '"2"', 2.0, 503),
    "iso-8601": Wish(lambda: _in(2.0).isoformat(), 1.9),
    "iso-8601-z": Wish(lambda: _in(2.0).isoformat().replace("+00:00", "Z"), 1.9, 503),
    # Without fractions: of the three seconds at least two are left.
    "an-http-date": Wish(lambda: format_datetime(_in(3.0), usegmt=True), 1.9, 503),
}
#: The window begins with the attempt, and what a busy machine takes until the server is asked.
LAST_TRY_S = WINDOW_S - 2.0
#: Longer than the window: the last try, when it closes, is let in.
TOO_LONG = {
    "too-long": Wish(lambda: "3600", LAST_TRY_S, 503),
    "for-days": Wish(lambda: "9" * 9, LAST_TRY_S),
}
#: The same where the last try fails as well.
STAYS_CLOSED = {"stays-closed": Wish(lambda: "3600.0", LAST_TRY_S, 503)}
ALL = {**WISHES, **TOO_LONG, **STAYS_CLOSED}


@dataclass
class Partner:
    """A server that lets nobody in at first. `asked` has the times of each event, by path."""

    port: int = 0
    asked: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def answer(self, kind: str, message_id: str) -> tuple[int, str | None]:
        """Status and `Retry-After`."""
        seen = self.asked[kind]
        is_first = not seen
        seen[message_id].append(time.monotonic())
        if is_first or kind in STAYS_CLOSED:
            return ALL[kind].status, ALL[kind].value()
        return 200, None


@pytest.fixture
def partner() -> Iterator[Partner]:
    """Listens while the test runs."""
    made = Partner()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, wish = made.answer(self.path.strip("/"), event["messageId"])
            self.send_response(status)
            if wish is not None:
                self.send_header("Retry-After", wish)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def test_waits_are_kept_to(running_service: StartService, partner: Partner) -> None:
    """Each is read, for the whole connection; one past the window ends with it, in a last try.

    `/status` says how long such a server has asked for.
    """
    service = running_service(
        {
            "pools.default": {"destinations": ["*"], "allow": [f"127.0.0.1:{partner.port}"]},
            "retry": {
                "window": f"{WINDOW_S:g}s",
                "first_delay": f"{FIRST_DELAY_S * 1000:g}ms",
                "max_delay": f"{MAX_DELAY_S * 1000:g}ms",
            },
            **{
                f"connections.{kind}": {
                    "source": "test",
                    "destination": "webhooks",
                    "settings": {"url": f"http://127.0.0.1:{partner.port}/{kind}"},
                }
                for kind in ALL
            },
        }
    )
    post(service.url, [track("first")])
    wait_until(lambda: partner.asked.keys() == ALL.keys(), 30, "all have said when")
    for kind, seconds in (("too-long", "3600 s"), ("for-days", "86400 s")):
        told = f"it asked for {seconds}, and the retry window is {WINDOW_S:.0f} s"
        queue: dict[str, object] = {}

        def is_told(kind: str = kind, told: str = told, queue: dict[str, object] = queue) -> bool:
            queue.update(service.queue_of(kind))
            return queue["state"] == "backing_off" and told in str(queue["state_reason"])

        wait_until(is_told, WINDOW_S, f"what {kind} has asked for is told")
        assert 0 < float(str(queue["next_attempt_in_s"])) <= WINDOW_S
    post(service.url, [track("second")])
    # Where all tries fail, the second event's window begins when the first one's is over.
    service.wait_for(lambda books: books["pending"] == 0, 2 * WINDOW_S + LATE_S)
    assert service.books()["failed"] == 2 * len(STAYS_CLOSED)
    for kind, wish in ALL.items():
        asked = partner.asked[kind]
        began = asked["first"][0]
        again = [at - began for at in (*asked["first"][1:], *asked["second"])]
        assert wish.least_s - EARLY_S <= min(again), (kind, again)
        assert max(again) <= wish.least_s + LATE_S, (kind, again)
        assert len(asked["first"]) == 2, (kind, again)
