"""The page of an event shows how its deliveries came where they are."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab


def test_attempts_that_went_wrong_are_part_of_the_way(open_tab: OpenTab) -> None:
    """With time, worker and what was said; the issue and the answer are a step away."""
    tab = open_tab("/events/hostile")
    way = tab.page.get_by_role("list", name="What went wrong on the way to refused")
    # A worker that another event kills may have had it before: that is told, too.
    attempts = way.locator("> li", has_text="400 Bad Request")
    expect(attempts).to_have_count(1)
    expect(attempts).to_contain_text("Attempt 1")
    expect(attempts).to_contain_text("in default-")
    expect(attempts).to_contain_text("400")
    attempts.get_by_text("What was sent and answered").click()
    expect(attempts.get_by_role("heading", name="Answer")).to_be_visible()
    expect(attempts).to_contain_text("POST")
    assert tab.barriers() == []
    expect(tab.main).to_contain_text("Attempts that went wrong are kept in memory, since")
    expect(tab.main).to_contain_text("12345678901234567890")  # of the event, as it was sent
    attempts.get_by_role("link").first.click()
    tab.settled()
    assert "/issues/" in tab.page.url


def test_an_event_that_killed_its_worker_has_its_trials(open_tab: OpenTab) -> None:
    """Each death, each trial alone, and the end."""
    tab = open_tab("/events/kill-1")
    attempts = tab.page.get_by_role("list", name="What went wrong on the way to fragile")
    expect(attempts).to_contain_text("its worker died, and it may be of this event: signal")
    expect(attempts).to_contain_text("sent again alone, with nothing else in its worker")
    expect(attempts).to_contain_text("quarantined")
    expect(attempts.get_by_role("link", name="Its death certificate")).to_have_count(3)
    # The event is a dead letter, and is shown; what went well has no history.
    expect(tab.main).to_contain_text("Kill")
    assert tab.barriers() == []
    tab.go("/events/good-1")
    expect(tab.main).to_contain_text("It did not fail.")
