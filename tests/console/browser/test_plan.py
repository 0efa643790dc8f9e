"""What a changed file would do is seen before it is done."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import House


def test_a_change_is_seen_and_followed(house: House, open_tab: OpenTab) -> None:
    """The plan names what is new; a reload makes it so; what is no config changes nothing."""
    service = house.service
    before = dict(service.sections)
    tab = open_tab("/plan")
    tab.button("Read the file").click()
    expect(tab.main.get_by_text("The file on disk is what runs.")).to_be_visible()
    try:
        service.sections = {**before, "connections.added": before["connections.hook"]}
        service.write_config()
        tab.button("Read it again").click()
        expect(tab.page.get_by_role("region", name="Connections")).to_contain_text("added")
        tab.main.get_by_role("button", name="Reload").click()
        dialog = tab.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Reload").click()
        expect(tab.main.get_by_text("Reloaded.")).to_be_visible()
        assert service.queue_of("added")["state"] == "open"
        service.config_path.write_text("[pools.default\n")
        tab.button("Read the file").click()
        expect(tab.page.get_by_role("alert")).to_contain_text("cannot be used")
    finally:
        service.sections = before
        service.write_config()
        house.post("POST", "/reload")
