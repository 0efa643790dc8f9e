"""How an event came where it is, told by a real service: its delivery fails before it passes."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import StartService
from tests.harness.service import RunningService, webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track


def history(service: RunningService, message_id: str) -> list[dict[str, Any]]:  # Any: JSON
    """Of its only delivery, as the admin API tells an operator."""
    (delivery,) = service.admin(f"/events/{message_id}")["deliveries"]
    found: list[dict[str, Any]] = delivery["history"]
    return found


def test_an_event_that_fails_twice_and_then_passes_keeps_what_was_answered(
    running_service: StartService, sink: SinkProcess
) -> None:
    """Both attempts with their answers, and the event while it waits; others have no history."""
    sections = webhook_sections(sink.url, workers=1)
    sections["retry"] = {"first_delay": "3s", "max_delay": "3s"}
    service = running_service(sections)
    post(service.url, [track("passes")])
    service.wait_for(lambda books: books["delivered_first_try"] == 1, 60)
    sink.answer_with(503)
    post(service.url, [track("fails")])
    wait_until(lambda: len(history(service, "fails")) == 1, 60, "the first attempt is told")
    sink.answer_with(500)
    wait_until(lambda: len(history(service, "fails")) == 2, 60, "the second attempt is told")
    sink.answer_with(200)
    told = service.admin("/events/fails")
    assert json.loads(told["body"])["messageId"] == "fails"
    service.wait_for(lambda books: books["delivered_on_retry"] == 1, 60)
    told = service.admin("/events/fails")
    (delivery,) = told["deliveries"]
    assert (delivery["outcome"], delivery["attempts"]) == ("delivered", 3)
    assert told["body"] is None
    assert told["attempts_not_kept"] is None
    first, second = delivery["history"]
    for one, attempt, status in ((first, 1, 503), (second, 2, 500)):
        assert (one["attempt"], one["outcome"], one["worker"]) == (attempt, "retry", "default-1")
        assert one["cause"].startswith(str(status))
        assert (one["code"], one["answer"]["status"]) == (str(status), status)
        assert json.loads(one["request"]["body"])["messageId"] == "fails"
        issue = service.admin(f"/issues/{one['issue']}")
        assert issue["cause"] == one["cause"]
    assert first["at"] < second["at"]
    assert history(service, "passes") == []
