"""Dead letters of a real service outlive what its config says in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from tests.conftest import StartService
from tests.harness.service import webhook_sections
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.process.test_reload import Sections, reload

LETTERS = 100


def other_source(sections: Sections) -> None:
    """The connection takes from another source."""
    sections["sources.other"] = {"write_key": "other"}
    sections["connections.hook"]["source"] = "other"


def other_name(sections: Sections) -> None:
    """The connection has another name."""
    sections["connections.renamed"] = sections.pop("connections.hook")


def other_destination(sections: Sections) -> None:
    """The connection's events go elsewhere."""
    sections["connections.hook"] = {
        "source": "test",
        "destination": "mixpanel",
        "settings": {"token": "t"},
    }


def disabled(sections: Sections) -> None:
    """The connection gets nothing."""
    sections["connections.hook"]["enabled"] = False


def removed(sections: Sections) -> None:
    """The connection is not there."""
    del sections["connections.hook"]


CHANGES = (other_source, other_name, other_destination, disabled, removed)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_replayed_after_a_change_that_was_taken_back(
    running_service: StartService, sink: SinkProcess, change: Callable[[Sections], None]
) -> None:
    """All that `list` shows under the connection's name is sent again."""

    def sections() -> Sections:
        made: Mapping[str, Mapping[str, object]] = webhook_sections(sink.url)
        return {name: dict(values) for name, values in made.items()}

    service = running_service(sections())
    sink.answer_with(400)
    post(service.url, [track(f"m{n}") for n in range(LETTERS)])
    service.wait_for(lambda books: books["failed"] == LETTERS, within_s=30)
    changed = sections()
    change(changed)
    reload(service, changed)
    reload(service, sections())
    admin = ("--admin", f"http://127.0.0.1:{service.admin_port}", "--json")
    chosen = ("--connection", "hook", *admin)
    listed = json.loads(service.command("deadletters", "list", *chosen).stdout)
    assert len(listed["deadletters"]) > 0
    sink.answer_with(200)
    done = service.command("deadletters", "replay", *chosen)
    assert json.loads(done.stdout) == {"matched": LETTERS, "done": LETTERS}, done
    service.wait_for(lambda books: books["delivered_on_retry"] == LETTERS, within_s=30)
    wait_until(lambda: len(sink.received()) == LETTERS, 10, "all have come")
    assert service.command("audit", *admin).returncode == 0
