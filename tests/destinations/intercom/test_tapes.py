"""Intercom against its tapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from destinations.intercom import Intercom
from supervisor.tapes.testing import play, tapes_beside


@pytest.mark.parametrize("tape", tapes_beside(__file__), ids=lambda tape: tape.stem)
async def test_tape(tape: Path) -> None:
    """Each tape's events become its requests, and its answers its outcomes."""
    await play(tape, Intercom)
