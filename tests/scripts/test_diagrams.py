"""The diagram of a worker's states says what the code says."""

from __future__ import annotations

import pytest

from scripts import diagrams


def test_page_is_fresh() -> None:
    """The diagram in the repository is the one that the code gives."""
    assert diagrams.main(["--check"]) == 0


def test_every_state_and_event_is_on_it() -> None:
    """Each state is reached and left, but for the last; each event is drawn somewhere."""
    text = diagrams.render()
    drawn = [line for line in text.splitlines() if " --> " in line]
    for state in diagrams.STATES:
        assert any(f"--> {state}" in line for line in drawn)
        assert any(line.strip().startswith(f"{state} -->") for line in drawn)
    assert sum(line.endswith("--> [*]") for line in drawn) == 1
    for event in {one.event for one in diagrams.transitions()}:
        assert any(event in line.partition(": ")[2] for line in drawn)


def test_known_transitions() -> None:
    """A worker that is ready and asked to retire drains; one that is forking cannot be ready."""
    found = {(one.state, one.event): one for one in diagrams.transitions()}
    drained = found["READY", "RetireAsked"]
    assert (drained.after, drained.effects) == ("DRAINING", ("SendDrain",))
    assert ("FORKING", "BecameReady") not in found
    assert found["KILLED", "WireClosed"].is_ignored


def test_text_around_it_stays() -> None:
    """Only what is between the markers is written, and a page without them is refused."""
    page = f"before\n{diagrams.BEGIN}\nold\n{diagrams.END}\nafter\n"
    placed = diagrams.placed(page)
    assert placed.startswith("before\n")
    assert placed.endswith("\nafter\n")
    assert "old" not in placed
    assert diagrams.placed(placed) == placed
    with pytest.raises(ValueError, match="no place for the diagram"):
        diagrams.placed("before and after")


def test_wrong_usage() -> None:
    """Anything but --check is refused."""
    assert diagrams.main(["--chekc"]) == 2
