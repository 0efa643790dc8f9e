"""A declaration is one record: taken from a class by name, bounded, and the same on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from destinations.kit import Destination, Event, Outcome
from destinations.kit.loading import declaration
from sandbox.protocol import (
    MAX_BATCH_EVENTS,
    Declaration,
    Declared,
    FrameReader,
    FromWorker,
    ProtocolError,
    encode,
)

MAX_FRAME = 1024 * 1024


class Plain(Destination):
    """Declares its name and nothing else."""

    name = "plain"

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Never called."""
        raise NotImplementedError


def converted(cls: type[Destination]) -> Declaration:
    """What a worker makes of a class."""
    return msgspec.convert(declaration(cls), Declaration, from_attributes=True)


def test_what_a_class_leaves_out_is_the_same_on_both_sides() -> None:
    """Defaults of the record are those of the kit's base class."""
    assert converted(Plain) == Declaration(
        types=Destination.types, settings_schema=declaration(Plain).settings_schema
    )


def test_each_field_is_taken_from_the_class_by_its_name() -> None:
    """No field of the record is without its attribute, which would make it a silent default."""
    declared = declaration(Plain)
    for field in Declaration.__struct_fields__:
        getattr(declared, field)


def test_a_declaration_arrives_as_it_was_made() -> None:
    """Sequences and mappings of any kind in a class become one kind in the record."""

    class Full(Plain):
        types = frozenset({"track"})
        aliases = ("Full", "full")
        hosts = ("{url}", "api.example:443")
        batch_events = 7
        batch_bytes = 8
        dry_answers = {"POST /*": "{}"}  # noqa: RUF012 - as destinations write it

    record = converted(Full)
    assert (record.aliases, record.dry_answers) == (("Full", "full"), {"POST /*": "{}"})
    assert FrameReader(FromWorker, MAX_FRAME).feed(encode(Declared("full", record))) == [
        Declared("full", record)
    ]


# Any: what no honest worker says
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("types", ["x"] * 257),
        ("types", ["x" * 257]),
        ("aliases", ["x"] * 257),
        ("aliases", ["x" * 257]),
        ("hosts", ["x"] * 257),
        ("hosts", ["x" * 513]),
        ("batch_events", 0),
        ("batch_events", MAX_BATCH_EVENTS + 1),
        ("batch_bytes", 0),
        ("batch_bytes", 2**63),
        ("dry_answers", {str(n): "" for n in range(257)}),
        ("dry_answers", {"x" * 1025: ""}),
        ("dry_answers", {"POST /": "x" * (64 * 1024 + 1)}),
        ("more", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_declaration_may_say_is_bounded(field: str, value: Any) -> None:
    """More of anything than a destination has use for is refused where it is decoded."""
    fields = {"types": ["track"]} | {field: value}
    frame = msgspec.msgpack.encode([17, "big", fields])
    with pytest.raises(ProtocolError):
        FrameReader(FromWorker, MAX_FRAME).feed(frame)


def test_a_reason_and_an_error_are_as_long_as_any_text() -> None:
    """2000 characters of a reason are taken and one more is not, nor of an error in settings."""
    for kind, payload in ((17, "x" * 2001), (18, ["x" * 2001])):
        frame = msgspec.msgpack.encode([kind, "name", payload])
        with pytest.raises(ProtocolError):
            FrameReader(FromWorker, MAX_FRAME).feed(frame)
    assert FrameReader(FromWorker, MAX_FRAME).feed(encode(Declared("name", "x" * 2000)))
