"""The small files beside the queue have a numbered format, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.state.format import FILE, StateFormatError, bring_forward, require_known


def test_a_directory_without_a_number_is_of_the_first_format(tmp_path: Path) -> None:
    """It gets its number at the first start, readable for nobody else."""
    assert require_known(tmp_path) == 1
    bring_forward(tmp_path)
    assert (tmp_path / FILE).read_text() == "1\n"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_steps_are_done_once_each_and_in_order(tmp_path: Path) -> None:
    """A step that was cut off is done again at the next start, those before it are not."""
    done: list[str] = []

    def step(name: str) -> Callable[[Path], None]:
        return lambda state_dir: done.append(name)

    def cut_off(state_dir: Path) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        bring_forward(tmp_path, 3, {1: step("one"), 2: cut_off})
    assert require_known(tmp_path, 3) == 2
    bring_forward(tmp_path, 3, {1: step("one"), 2: step("two")})
    bring_forward(tmp_path, 3, {1: step("one"), 2: step("two")})
    assert done == ["one", "two"]
    assert require_known(tmp_path, 3) == 3


@pytest.mark.parametrize("text", ["", "two", "0", "-1", "\0" * 4096])
def test_what_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    """The error says which file, and what stands there otherwise."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StateFormatError, match=r"format: says .*write 1 into it"):
        require_known(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """Both numbers are named, and what to do."""
    (tmp_path / FILE).write_text("4\n")
    with pytest.raises(StateFormatError, match=r"format 4; .*up to 1\): start that version again"):
        bring_forward(tmp_path)
