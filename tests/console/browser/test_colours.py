"""Connections are told apart by their marks, in light and dark."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Literal, TypedDict

import pytest
from playwright.sync_api import expect

from tests.console.browser.conftest import OpenTab

#: Contrast that graphics have to have to what is beside them (WCAG 1.4.11).
LEAST_CONTRAST = 3.0
_SOURCES = ("web", "website", "app", "shop", "ios", "android", "server", "crm", "billing", "docs")
_PARTNERS = (
    *("mixpanel", "marketo", "salesforce", "drift", "intercom", "hook", "hook-2", "hook-3"),
    *("google-ads", "google-analytics", "warehouse", "slack", "zendesk", "braze", "amplitude"),
    *("segment", "klaviyo", "hubspot", "iterable", "customerio"),
)
#: As many as the largest page of cards has.
NAMES = [f"{source}-{partner}" for source in _SOURCES for partner in _PARTNERS]


class Mark(TypedDict):
    """What `markOf` answers."""

    hue: float
    second: float
    shape: int


_MARKS = """async names => {
  // The address has the build in it: the one that the page has loaded.
  const { markOf } = await import(
    performance.getEntriesByType('resource').find(each => each.name.endsWith('/ui/colour.js')).name
  )
  return names.map(markOf)
}"""
#: Luminances of the card, the page and of each hue, as they are drawn: hues are of no colour space
#: that one could reckon in by hand.
_LUMINANCES = """hues => {
  const style = getComputedStyle(document.documentElement)
  const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
  const luminance = colour => {
    pen.fillStyle = colour
    pen.fillRect(0, 0, 1, 1)
    const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map(part => {
      const s = part / 255
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const mark = style.getPropertyValue('--mark')
  return [
    ['--card', '--page', '--bar'].map(name => luminance(style.getPropertyValue(name))),
    hues.map(hue => luminance(`oklch(${mark} ${hue})`)),
  ]
}"""


def contrast(one: float, other: float) -> float:
    """Of two luminances."""
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)


def test_few_connections_look_alike(open_tab: OpenTab) -> None:
    """None of the ten of one source, few of two hundred; all of it is used, and stays as it is."""
    tab = open_tab("/connections/hook/queue")
    assert len(NAMES) == 200
    marks: list[Mark] = tab.page.evaluate(_MARKS, NAMES)
    tab.page.reload()
    tab.settled()
    assert tab.page.evaluate(_MARKS, NAMES) == marks
    seen = [(mark["hue"], mark["second"], mark["shape"]) for mark in marks]
    tens = [seen[at : at + 10] for at in range(0, 200, 10)]
    assert sum(len(set(ten)) < 10 for ten in tens) <= 2
    assert len(set(seen)) >= 180
    for part in zip(*seen, strict=True):
        assert max(Counter(part).values()) <= 2.5 * len(seen) / len(set(part))
    assert {mark["shape"] for mark in marks} == set(range(6))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_mark_is_seen(scheme: Literal["light", "dark"], open_tab: OpenTab) -> None:
    """On a card, on the page and on a row that the pointer is at."""
    tab = open_tab("/connections")
    tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    grounds, hues = tab.page.evaluate(_LUMINANCES, list(range(0, 360, 24)))
    for ground, hue in itertools.product(grounds, hues):
        assert contrast(ground, hue) >= LEAST_CONTRAST


def test_a_connection_looks_the_same_everywhere(open_tab: OpenTab) -> None:
    """On its own page, and where its worker's end is told."""
    tab = open_tab("/connections/fragile/delivery")
    own = tab.page.locator(".page-title .dot")
    expect(own).to_be_visible()
    drawn = own.get_attribute("style"), own.get_attribute("class")
    tab.go("/exits?connection=fragile")
    there = tab.main.locator(".named", has_text="fragile").locator(".dot").first
    assert (there.get_attribute("style"), there.get_attribute("class")) == drawn
