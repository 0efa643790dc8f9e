"""Ten thousand connections: the page draws what is seen, and the keyboard goes through them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.harness.service import RunningService

MANY = 10_000
#: Rows that may be in the page at once.
MOST_DRAWN = 100


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[RunningService]:
    """A service with so many connections that nobody looks at all of them."""
    service = RunningService(
        tmp_path,
        {
            "pools.default": {"destinations": ["*"], "workers": 1, "spares": 0},
            **{
                f"connections.many-{n:05d}": {
                    "source": "test",
                    "destination": "webhooks",
                    "settings": {"url": "https://hooks.example.com/"},
                }
                for n in range(MANY)
            },
        },
    )
    try:
        yield service.start()
        service.stop()
    finally:
        service.kill()


def test_ten_thousand_connections(crowded: RunningService, open_tab: OpenTab) -> None:
    """They scroll from the first to the last; what is searched for is found among all."""
    tab = open_tab("/connections?sort=name", base=f"http://127.0.0.1:{crowded.admin_port}/console/")
    table = tab.page.locator(".table-box.long")
    links = table.locator("tbody a[data-row]")
    expect(links.first).to_have_text("many-00000")
    table.evaluate("each => { each.scrollTop = each.scrollHeight }")
    expect(links.last).to_have_text(f"many-{MANY - 1:05d}")
    assert links.count() < MOST_DRAWN
    links.last.focus()
    tab.page.keyboard.press("Home")
    expect(links.first).to_have_text("many-00000")
    expect(links.first).to_be_focused()
    tab.page.get_by_label("Show those with").fill("07777")
    expect(links).to_have_count(1)
    expect(links.first).to_have_text("many-07777")
    assert tab.barriers() == []
