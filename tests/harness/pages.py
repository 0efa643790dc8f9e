"""The pages of destinations: what all of them have in common, read from their Markdown."""

from __future__ import annotations

import re
from pathlib import Path

#: Sections that every page has, in this order; further ones may stand between them.
SECTIONS = (
    "Set-up",
    "Settings",
    "What each event becomes",
    "Batching",
    "Outcomes",
    "Coming from Segment",
    "One customer's journey",
)


def headings(page: Path) -> list[str]:
    """The sections of a page, in order."""
    return re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)


def settings_examples(page: Path) -> list[str]:
    """The TOML that a page shows."""
    return re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """What a page links to."""
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())
