"""Which connection keeps the event loops of a pool's workers from the others.

Owns two judgements. One that blocks a loop, for so long that it is seen at it; and one whose steps
are short, but so many that most of the workers' time is its own, though it gets little done in it.
Once is an accident: a collection of garbage, a machine that stalled. Neither kills a worker, so
that nobody is charged with a death: who is found is given a worker of its own. Must not know
workers: whoever looks at them tells what they were at.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

#: So often within so many seconds is no accident.
TIMES, WITHIN_S = 3, 10.0
#: Seconds of looks that are judged together, and looks at busy workers that are enough for it.
WINDOW_S, LEAST_LOOKS = 0.2, 10
#: Share of these looks in which a step of the same connection ran.
MOST = 0.5
#: How many times dearer an event of it is than one of the others, in time on the loops.
DEARER = 8.0


@dataclass(slots=True)
class _Window:
    """What was seen since `since`; `looks`, and those in which a connection was `at` it."""

    since: float
    looks: int = 0
    at: Counter[str] = field(default_factory=Counter)
    apart: Counter[str] = field(default_factory=Counter)
    looks_apart: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Hogs:
    """Those of one pool. Times are seconds of a clock that does not go back.

    What is said of a hog follows "it".
    """

    _seen: dict[str, deque[float]] = field(default_factory=dict)
    _window: _Window | None = None

    def blocked(self, connection: str, now: float, *, is_apart: bool) -> str | None:
        """A step of it has blocked its worker's loop for long; what to say of it if it is a hog."""
        return self._again(connection, "it blocked one", now, is_apart=is_apart)

    def looked(self, at: str | None, only: str | None, now: float) -> None:
        """A worker that has batches was `at` a step of this connection, None: at nobody's.

        `only` is the connection that it serves apart.
        """
        window = self._at(now)
        if only is None:
            window.looks += 1
            if at is not None:
                window.at[at] += 1
        else:
            window.looks_apart[only] += 1
            if at == only:
                window.apart[only] += 1

    def given(self, connection: str, events: int) -> None:
        """A worker has a batch of it."""
        if self._window is not None:
            self._window.events[connection] += events

    def found(self, now: float) -> dict[str, str]:
        """Hogs by name, with what to say of them; none while there is not enough to judge by."""
        window = self._at(now)
        if now - window.since < WINDOW_S:
            return {}
        self._window = None
        found = {
            connection: self._again(connection, what, now, is_apart=False)
            for connection, what in self._dear(
                window, window.at, dict.fromkeys(window.at, window.looks)
            )
        }
        for connection, what in self._dear(window, window.apart, window.looks_apart):
            found[connection] = self._again(connection, what, now, is_apart=True)
        return {connection: said for connection, said in found.items() if said is not None}

    def forget(self, connection: str) -> None:
        """It left the pool."""
        self._seen.pop(connection, None)

    def _at(self, now: float) -> _Window:
        if self._window is None:
            self._window = _Window(now)
        return self._window

    def _again(self, connection: str, what: str, now: float, *, is_apart: bool) -> str | None:
        """It was seen once more; once is enough of who runs apart, where nobody else can be it."""
        if is_apart:
            return f"kept the event loop of its worker busy: {what}"
        seen = self._seen.setdefault(connection, deque(maxlen=TIMES))
        seen.append(now)
        if len(seen) < TIMES or now - seen[0] > WITHIN_S:
            return None
        seen.clear()
        return (
            f"kept the event loops of its workers from the others {TIMES} times within"
            f" {WITHIN_S:g} s; last, {what}"
        )

    def _dear(
        self, window: _Window, at: Counter[str], looks: dict[str, int]
    ) -> Iterator[tuple[str, str]]:
        """Who had most of the time and did little in it, and what to say of that."""
        time = window.at.total() + window.apart.total()
        for connection, seen in at.items():
            if looks[connection] < LEAST_LOOKS or seen < MOST * looks[connection]:
                continue
            others = window.events.total() - window.events[connection]
            if not others:
                continue  # there is nobody whom it could keep from anything
            # One look more for them: where there are few of either, that excuses.
            theirs = (time - window.at[connection] - window.apart[connection] + 1) / others
            times = seen / (window.events[connection] + 1) / theirs
            if times >= DEARER:
                yield (
                    connection,
                    f"it had them for {seen / looks[connection]:.0%} of the time, at {times:.0f}"
                    " times as much an event as the others",
                )
