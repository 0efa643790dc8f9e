"""What destinations remember has bounds."""

from __future__ import annotations

from destinations.kit.memory import Memory


def test_bounds() -> None:
    """The one that was not asked for longest makes room."""
    memory = Memory(2)
    memory.note("a", "1")
    memory.note("b", "2")
    assert memory.get("a") == "1"
    memory.note("c", "3")
    assert [memory.get(key) for key in "abc"] == ["1", None, "3"]


def test_the_last_word_counts() -> None:
    """A key that is noted again has the new value, and takes no second place."""
    memory = Memory(2)
    for key, value in (("a", "1"), ("b", "2"), ("a", "3")):
        memory.note(key, value)
    assert [memory.get(key) for key in "ab"] == ["3", "2"]


def test_a_value_that_has_gone() -> None:
    """All keys of a value are forgotten with it."""
    memory = Memory(3)
    for key, value in (("a", "1"), ("b", "2"), ("c", "1")):
        memory.note(key, value)
    memory.forget("1")
    assert [memory.get(key) for key in "abc"] == [None, "2", None]
