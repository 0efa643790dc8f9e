"""Times on events: notations, and the correction of clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ingest.timestamps import Receipt, format_time, parse_time

RECEIVED_AT = 1_795_395_600.0  # 2026-11-23T01:00:00Z


def stamped(event: dict[str, object], sent_at: object = None) -> dict[str, object]:
    """The event after it was stamped."""
    Receipt(RECEIVED_AT, sent_at).stamp(event)
    return event


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T00:51:40.123Z",
        "2026-11-23T00:51:40.123456789Z",
        "2026-11-23T00:51:40.123z",
        "2026-11-23 00:51:40.123",
        "2026-11-23T00:51:40,123",
        "2026-11-23T01:51:40.123+01:00",
        "2026-11-23T01:51:40.123+0100",
        "2026-11-22T23:51:40.123-01",
        "2026-11-23 00:51:40.123 UTC",
        "20261123T005140.123Z",
        " 2026-11-23T00:51:40.123Z ",
        "1795395100123",
        1_795_395_100_123,
        1_795_395_100.123,
    ],
)
def test_a_time_is_read_in_any_usual_form(text: object) -> None:
    """ISO 8601 in all its forms, and seconds or milliseconds since 1970, are times."""
    moment = parse_time(text)
    assert moment is not None
    assert format_time(moment).startswith("2026-11-23T00:51:40.12")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "2026-13-01",
        "T",
        "-Z",
        "2026-Z",
        "Mon, 23 Nov 2026",
        "9" * 70,
        True,
        [],
        {},
        None,
        1e300,
        -1e300,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_time_is_none(value: object) -> None:
    """Other text, other types, and times that no calendar has are no times."""
    assert parse_time(value) is None


@given(st.text(max_size=70) | st.integers() | st.floats() | st.booleans())
def test_no_value_makes_reading_fail(value: object) -> None:
    """Any value is a time or none."""
    parse_time(value)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_what_is_written_reads_back(moment: datetime) -> None:
    """A stored time reads back to the millisecond."""
    text = format_time(moment)
    assert len(text) == len("2026-11-23T00:51:40.123Z")
    assert parse_time(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_a_wrong_clock_is_corrected() -> None:
    """`timestamp` is `receivedAt - (sentAt - originalTimestamp)`, whatever the sender's clock."""
    event = stamped({"timestamp": "2001-01-01T00:00:00.000Z"}, "2001-01-01T00:00:05.000Z")
    assert event == {
        "timestamp": "2026-11-23T00:59:55.000Z",
        "originalTimestamp": "2001-01-01T00:00:00.000Z",
        "sentAt": "2001-01-01T00:00:05.000Z",
        "receivedAt": "2026-11-23T01:00:00.000Z",
    }


def test_an_event_speaks_for_itself() -> None:
    """An event's own `sentAt` counts, not its batch's."""
    event = stamped(
        {"originalTimestamp": "2026-11-23T02:00:00Z", "sentAt": "2026-11-23T02:00:01Z"},
        "1999-01-01T00:00:00Z",
    )
    assert event["timestamp"] == "2026-11-23T00:59:59.000Z"
    assert event["sentAt"] == "2026-11-23T02:00:01Z"


def test_without_sent_at_the_time_is_taken_as_it_is() -> None:
    """Where nobody says when it was sent, nothing is corrected."""
    event = stamped({"timestamp": "2020-02-29T12:00:00+02:00"})
    assert event["timestamp"] == "2020-02-29T10:00:00.000Z"
    assert event["originalTimestamp"] == "2020-02-29T12:00:00+02:00"


def test_without_a_time_it_happened_when_it_came() -> None:
    """An event without a time has the time of receipt."""
    event = stamped({})
    assert event["timestamp"] == event["originalTimestamp"] == event["receivedAt"]
    assert "sentAt" not in event


def test_a_corrected_event_is_not_corrected_twice() -> None:
    """An event with an original and a corrected time keeps both."""
    event = stamped(
        {"timestamp": "2026-11-23T00:00:00.000Z", "originalTimestamp": "2026-11-22T00:00:00.000Z"},
        "2026-11-22T00:00:01Z",
    )
    assert event["timestamp"] == "2026-11-23T00:00:00.000Z"
    assert event["originalTimestamp"] == "2026-11-22T00:00:00.000Z"


@pytest.mark.parametrize(
    ("original", "sent_at", "timestamp"),
    [
        ("2026-11-23T00:59:00Z", "1970-01-01T00:00:00Z", "2026-11-23T00:59:00.000Z"),
        ("2026-11-23T00:59:00Z", "9999-12-31T00:00:00Z", "2026-11-23T00:59:00.000Z"),
        ("2099-01-01T00:00:00Z", None, "2026-11-23T01:00:00.000Z"),
        ("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z", "2026-11-23T01:00:00.000Z"),
        ("yesterday", "2026-11-23T00:59:00Z", "2026-11-23T01:00:00.000Z"),
        ("2026-11-23T00:59:00Z", "just now", "2026-11-23T00:59:00.000Z"),
        ("2026-11-23T00:59:00Z", {"a": 1}, "2026-11-23T00:59:00.000Z"),
    ],
)
def test_absurd_clocks_are_not_believed(original: object, sent_at: object, timestamp: str) -> None:
    """A correction into nonsense is not made, and a time of nonsense is that of receipt."""
    event = stamped({"timestamp": original}, sent_at)
    assert event["timestamp"] == timestamp
    assert event["originalTimestamp"] == original


@given(
    st.dictionaries(
        st.sampled_from(["timestamp", "originalTimestamp", "sentAt", "receivedAt"]),
        st.none()
        | st.text(max_size=30)
        | st.integers()
        | st.floats()
        | st.lists(st.integers(), max_size=2)
        | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    ),
    st.none() | st.text(max_size=30) | st.datetimes().map(lambda moment: moment.isoformat()),
)
def test_every_event_gets_its_times(event: dict[str, Any], sent_at: object) -> None:
    """Whatever was sent, `timestamp` and `receivedAt` are times, no later than a day ahead."""
    # Any: JSON of strangers
    stamped(event, sent_at)
    assert event["receivedAt"] == "2026-11-23T01:00:00.000Z"
    moment = datetime.fromisoformat(event["timestamp"])
    assert datetime(1970, 1, 1, tzinfo=UTC) <= moment <= datetime(2026, 11, 24, 1, tzinfo=UTC)
    assert isinstance(event["originalTimestamp"], str)
