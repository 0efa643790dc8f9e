"""A destination whose import raises."""

from __future__ import annotations

raise RuntimeError("no good, from the import")
