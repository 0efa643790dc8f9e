"""A library of the plugins' own, with a cache that all of them fill."""

from __future__ import annotations

CACHE: list[object] = []
