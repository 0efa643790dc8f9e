"""The catalogue page says what the code says."""

from __future__ import annotations

import msgspec

from destinations.kit import Destination
from scripts import catalogue
from supervisor.config import builtin_destinations


def test_page_is_fresh() -> None:
    """The page in the repository is the one that the code gives."""
    assert catalogue.main(["--check"]) == 0


def test_every_destination_is_on_it() -> None:
    """Each built-in destination has its section, each setting its row."""
    text = catalogue.page()
    for name in builtin_destinations():
        assert f"\n## {name}\n" in text
        module = __import__(f"destinations.{name.replace('-', '_')}", fromlist=["DESTINATION"])
        declared: type[Destination] = module.DESTINATION
        for field in msgspec.structs.fields(declared.Settings):
            assert f"| `{field.encode_name}` |" in text


def test_wrong_usage() -> None:
    """Anything but --check is refused."""
    assert catalogue.main(["--chekc"]) == 2
