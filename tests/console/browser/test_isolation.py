"""A death is seen where it happens, and its certificate says whose fault it was."""

from __future__ import annotations

import json
import os
import signal

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import DEATHS_KEY, WITHIN_S, House, post, track
from tests.harness.waiting import wait_until


def exits_of(house: House, worker: str) -> list[str]:
    """Ids of a worker's exits, newest first."""
    found = house.service.admin(f"/debug/exits?worker={worker}")["exits"]
    return [str(each["id"]) for each in found]


def test_a_killed_worker(house: House, open_tab: OpenTab) -> None:
    """Its card tells of the end by itself; the exit leads to the certificate."""
    tab = open_tab("/pools/default")
    worker = house.service.admin("/status")["pools"][0]["workers"][0]
    card = tab.page.locator("li.worker").filter(
        has=tab.page.get_by_role("link", name=worker["id"], exact=True)
    )
    expect(card).to_contain_text(f"pid {worker['pid']}")
    before = exits_of(house, worker["id"])
    os.kill(worker["pid"], signal.SIGKILL)
    expect(card).not_to_contain_text(f"pid {worker['pid']}")
    expect(card.locator(".last-exit")).to_contain_text("signal")
    wait_until(lambda: exits_of(house, worker["id"]) != before, WITHIN_S, "the exit is kept")
    newest = exits_of(house, worker["id"])[0]
    row = tab.main.locator(f'a[href="#/exits/{newest}"]').last
    row.click()
    expect(tab.heading).to_have_text("Death certificate")
    expect(tab.main).to_contain_text(f"pid {worker['pid']}")
    expect(tab.main).to_contain_text("SIGKILL")


def test_a_certificate_names_the_connection_and_the_event(house: House, open_tab: OpenTab) -> None:
    """From the exits, by a click; the event's own page says what became of it."""
    tab = open_tab("/exits?connection=fragile&reason=signal")
    tab.main.locator("tbody a[data-row]").first.click()
    expect(tab.main.get_by_label("Of whom and of what")).to_contain_text("fragile")
    expect(tab.main).to_contain_text("ended")
    became = tab.page.get_by_role("region", name="What became of its batches")
    expect(became).to_contain_text("fragile")
    expect(became).to_contain_text("1 quarantined")
    tab.link("kill-1").first.click()
    expect(tab.heading).to_have_text("Event")
    expect(tab.main).to_contain_text("quarantined")
    expect(tab.main).to_contain_text("Received")


def test_whose_batch_is_in_which_worker(house: House, open_tab: OpenTab) -> None:
    """While an event takes its time, a card has its connection, and why that is apart."""
    tab = open_tab("/pools/default")
    assert post(house.service, json.dumps(track("wait-1", "Wait")), DEATHS_KEY, "track") == 200
    card = tab.page.locator("li.worker").filter(has=tab.page.locator(".batches"))
    expect(card.filter(has_text="fragile").first).to_be_visible()
    expect(card.filter(has_text="fragile").first).to_contain_text("died of signal with events")


def test_an_operator_recycles_a_worker(house: House, open_tab: OpenTab) -> None:
    """After a question; the dialog gives the focus back, and the worker is another one."""
    tab = open_tab("/workers/default-2")
    worker = house.service.admin("/status")["pools"][0]["workers"][1]
    tab.button("Recycle").click()
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Recycle default-2?")
    dialog.get_by_role("button", name="Recycle").click()
    expect(dialog).to_have_count(0)
    expect(tab.button("Recycle")).to_be_focused()
    wait_until(
        lambda: house.service.admin("/status")["pools"][0]["workers"][1]["pid"] != worker["pid"],
        WITHIN_S,
        "another process serves",
    )


def test_evidence_of_a_worker(open_tab: OpenTab) -> None:
    """Its stacks stand on its page; a profile is a file of the operator's."""
    tab = open_tab("/workers/default-1")
    tab.button("Stacks").click()
    expect(tab.page.get_by_role("region", name="stacks of default-1")).to_contain_text("File")
