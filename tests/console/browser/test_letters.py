"""Dead letters are replayed by what they died of, to the end."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import WITHIN_S, House, post, track
from tests.harness.waiting import wait_until


def letters(house: House) -> list[str]:
    """Message ids of what the refusing webhook did not take."""
    page = house.service.admin("/deadletters?connection=refused&limit=1000")
    return [str(each["message_id"]) for each in page["deadletters"]]


def test_a_group_is_replayed_to_its_end(house: House, open_tab: OpenTab) -> None:
    """From the cause, through the dry run, to a job with its progress; each letter once."""
    wanted = set(letters(house))
    house.refusing.answer_with(200)
    try:
        tab = open_tab("/deadletters?connection=refused")
        tab.page.get_by_role("table", name="Dead letters by cause").get_by_role(
            "link"
        ).first.click()
        tab.settled()
        tab.button("Replay…").click()
        dialog = tab.page.get_by_role("dialog")
        dialog.get_by_role("button", name=f"Replay {len(wanted)}").click()
        expect(tab.heading).to_have_text("Replay of dead letters")
        expect(tab.main.locator(".chip").first).to_contain_text("done")
        expect(tab.main).to_contain_text(str(len(wanted)))
        tab.page.reload()
        tab.settled()
        expect(tab.main.locator(".chip").first).to_contain_text("done")
        wait_until(
            lambda: wanted <= house.refusing.received().keys(), WITHIN_S, "all of them arrive"
        )
        received = house.refusing.received()
        assert {received[message_id] for message_id in wanted} == {1}
        assert not letters(house)
    finally:
        house.refusing.answer_with(400)
        assert post(house.service, json.dumps(track("again-1", "Refused")), path="track") == 200
        wait_until(lambda: bool(letters(house)), WITHIN_S, "there is one for other tests")
