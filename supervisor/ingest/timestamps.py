"""Times on events: reading what senders write, and correcting their clocks.

Owns every notation of a time that is accepted, the one that is stored, and
Segment's correction for clock skew. Pure: the time of receipt comes in as an
argument. Must not decide whether an event is taken: a time that makes no sense
costs an event its time, not its life.

https://segment.com/docs/connections/spec/common/#timestamps:
`timestamp = receivedAt - (sentAt - originalTimestamp)`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # naive means UTC throughout: arithmetic is faster so
#: Numbers below it are seconds since 1970, from it on milliseconds: it is the year 5138, or 1973.
_FIRST_MILLISECONDS = 1e11
#: No notation of a time is longer, in characters.
_MAX_TEXT = 64
#: How far ahead of us an event may honestly have happened: time zones that were taken for UTC.
_AHEAD = timedelta(days=1)


def parse_time(value: object) -> datetime | None:
    """The time in UTC, as a naive datetime; None for what is none.

    Taken are ISO 8601 in the forms of `datetime.fromisoformat` (UTC where there
    is no offset), and seconds or milliseconds since 1970, as a number or as
    text of 10 or 13 digits.
    """
    try:
        if type(value) is str:
            if value[4:5] == "-" and value[-1] == "Z" and len(value) <= _MAX_TEXT:
                moment = datetime.fromisoformat(value[:-1])
            else:
                found = _parse_unusual(value)
                if found is None:
                    return None
                moment = found
            offset = moment.utcoffset()
            return moment if offset is None else moment.replace(tzinfo=None) - offset
        if type(value) is int or type(value) is float:
            seconds = value if abs(value) < _FIRST_MILLISECONDS else value / 1000
            return _EPOCH + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None  # no time, or none between the years 1 and 9999
    return None


def _parse_unusual(text: str) -> datetime | None:
    """Whatever does not end in a plain Z. Raises ValueError or OverflowError."""
    text = text.strip() if len(text) <= _MAX_TEXT else ""
    if text.isascii() and text.isdigit() and len(text) in (10, 13):
        return parse_time(int(text))
    return datetime.fromisoformat(text.replace("z", "Z").removesuffix(" UTC"))


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, of a naive datetime in UTC."""
    text = moment.isoformat()
    # Cheaper than `timespec`; the fraction is left out where it is 0.
    return text[:23] + "Z" if len(text) == 26 else text + ".000Z"


class Receipt:
    """When a request came in, and what that says about the clock of its sender.

    `received_at` is seconds since 1970. `sent_at` is the batch's `sentAt`, of
    whatever type; it holds for events without one of their own.
    """

    __slots__ = ("_latest", "_sent_at", "_skew", "at", "text")

    def __init__(self, received_at: float, sent_at: object = None) -> None:
        self.at = datetime.fromtimestamp(received_at, UTC).replace(tzinfo=None)
        self.text = format_time(self.at)
        self._latest = self.at + _AHEAD
        self._sent_at, self._skew = self._read_sent(sent_at)

    def _read_sent(self, sent_at: object) -> tuple[str | None, timedelta | None]:
        """`sentAt` as it is stored, and how far our clock is ahead of the sender's."""
        moment = parse_time(sent_at)
        text = sent_at if isinstance(sent_at, str) else None
        if moment is None:
            return text, None
        return text or format_time(moment), self.at - moment

    def stamp(self, event: dict[str, object]) -> None:
        """Set `receivedAt`, `sentAt`, `originalTimestamp` and `timestamp` of an event in place.

        An event that has both `originalTimestamp` and another `timestamp` was
        corrected before it came here, and is not corrected twice. A corrected
        time before 1970 or more than a day ahead shows that `sentAt` is wrong:
        then the original one holds, and where that makes no more sense, the
        time of receipt.
        """
        event["receivedAt"] = self.text
        skew = self._skew
        own_sent = event.get("sentAt")
        if own_sent is not None:
            event["sentAt"], skew = self._read_sent(own_sent)
        elif self._sent_at is not None:
            event["sentAt"] = self._sent_at
        given = event.get("timestamp")
        original = event.get("originalTimestamp")
        moment = parse_time(given if original is None else original)
        if original is None:
            original = given
        elif given is not None and given != original and (earlier := parse_time(given)):
            moment, skew = earlier, None
        event["timestamp"] = corrected = (
            self.text if moment is None else self._corrected(moment, skew)
        )
        if type(original) is not str:
            original = corrected if moment is None else format_time(moment)
        event["originalTimestamp"] = original

    def _corrected(self, moment: datetime, skew: timedelta | None) -> str:
        if skew is not None:
            try:
                corrected = moment + skew
            except OverflowError:
                corrected = _EPOCH - _AHEAD  # no sense either
            if _EPOCH <= corrected <= self._latest:
                return format_time(corrected)
        return format_time(moment) if _EPOCH <= moment <= self._latest else self.text
