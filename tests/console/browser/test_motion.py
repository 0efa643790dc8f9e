"""Nothing moves for those who asked that nothing does, and the page needs no movement to work."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab
from tests.console.browser.house import House

#: Every element that moves, or would where something of it changed, with what comes before and
#: after it. A style of its own is given to one, so that it is the rule that is tested.
_MOVING = """() => {
  const heading = document.querySelector('h1')
  heading.style.transition = 'color 9s'
  heading.style.animation = 'spin 9s infinite'
  const found = document.getAnimations().map(each => each.playState)
  for (const element of document.querySelectorAll('*'))
    for (const part of [null, '::before', '::after']) {
      const style = getComputedStyle(element, part)
      const lasts = times => times.split(', ').some(time => parseFloat(time) > 0)
      const isAnimated = style.animationName !== 'none' && lasts(style.animationDuration)
      if (lasts(style.transitionDuration) || isAnimated || style.scrollBehavior === 'smooth')
        found.push(`${element.tagName}${part ?? ''}`)
    }
  heading.style.transition = heading.style.animation = ''
  return found
}"""


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_unasked(
    motion: Literal["reduce", "no-preference"], house: House, open_tab: OpenTab
) -> None:
    """On pages with charts, a live list, cards and a dialog; with movement they work as well."""
    tab = open_tab("/")
    tab.page.emulate_media(reduced_motion=motion)
    for address in (
        "/",
        "/sources/test/debugger",
        "/pools/default",
        "/connections/refused/delivery",
        f"/heaps/{house.snapshot}",
        "/connections/hook/queue",
    ):
        tab.go(address)
        moving = tab.page.evaluate(_MOVING)
        assert moving == ([] if motion == "reduce" else ["H1"]), address
    tab.button("Pause deliveries").click()
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert "DIALOG" not in tab.page.evaluate(_MOVING)
    tab.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
