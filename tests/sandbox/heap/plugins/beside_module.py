"""A module that one destination alone uses: what it keeps is that destination's."""

from __future__ import annotations

KEPT: list[object] = []
