"""Whether the event loops of a pool's workers run, and which connection keeps them from the others.

Owns four judgements on one record a worker, from looks at its heartbeats and at what it is at:

- **unresponsive**: it has batches and has not beaten for a few beats. It gets nothing more until it
  beats again: what it was given would wait too, at worst until it is killed. Others have room.
- **kept**: it was found in a step of the same connection at two looks in a row of one absence, and
  not for want of a CPU. Three times within a while is no accident: a **noisy neighbour**.
- **dear**: a connection whose steps are short, but so many that most of the loops' time is its own,
  though it gets little done in it. Three times within a while: a noisy neighbour too.
- **blocked**: seconds for which a loop was silent, not counting time without a CPU, nor time in
  which nobody looked: a machine that stalls must not have its workers killed.

None of them kills a worker or charges a death. Must not know workers: its caller tells what it saw.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

#: Seconds without a beat after which a busy worker is unresponsive: two or three beats.
UNRESPONSIVE_S = 0.05
#: Seconds between two rounds of looks at busy workers; and since the last one, after which a round
#: is late: what it finds may be the fault of a machine that stalled.
ROUND_S, LATE_S = 0.02, 0.04
#: Share of the time between two looks at an unresponsive worker in which it must not have waited
#: for a CPU, for what it is at to count as what keeps it.
BUSY_SHARE = 0.5
#: So often within so many seconds is no accident.
TIMES, WITHIN_S = 3, 10.0
#: Seconds of looks that are judged together, and looks at busy workers that are enough for it.
WINDOW_S, LEAST_LOOKS = 0.2, 10
#: Share of these looks in which a step of the same connection ran.
MOST = 0.5
#: How many times dearer an event of it is than one of the others, in time on the loops.
DEARER = 8.0


@dataclass(frozen=True, slots=True)
class LoopLook:
    """What a look at a worker that has batches found.

    It has beaten `beats` times, is in a step of the connection `running` or in nobody's, and has
    waited `waited_s` seconds for a CPU in its life. `dedicated_to` is the connection that has it
    for itself.
    """

    beats: int
    running: str | None
    waited_s: float
    dedicated_to: str | None = None


@dataclass(frozen=True, slots=True)
class RoundFindings:
    """What a round of looks found: workers that became responsive or ceased to be, by number.

    `noisy` are connections that keep loops from others, with what to say of each, to follow "it".
    """

    changed: tuple[int, ...]
    noisy: tuple[tuple[str, str], ...]


class Responsiveness:
    """That of one pool's workers. Times are seconds of a clock that does not go back."""

    def __init__(self) -> None:
        self._heartbeats: dict[int, Heartbeats] = {}
        self._timers: dict[int, BlockedLoopTimer] = {}
        self._noise = NoiseMeter()
        self._round_at = float("-inf")

    def is_unresponsive(self, worker: int) -> bool:
        """Whether it does not come round to what it is sent."""
        heartbeats = self._heartbeats.get(worker)
        return heartbeats is not None and heartbeats.is_unresponsive

    def round(self, looks: Mapping[int, LoopLook | None], now: float) -> RoundFindings:
        """Every worker that takes batches was looked at; None: it has no batches."""
        is_late, self._round_at = now - self._round_at > LATE_S, now
        changed: list[int] = []
        noisy: list[tuple[str, str]] = []
        for worker, look in looks.items():
            heartbeats = self._heartbeats.setdefault(worker, Heartbeats())
            if look is None:
                has_changed = heartbeats.rested()
            else:
                if not is_late:
                    self._noise.looked(look.running, look.dedicated_to, now)
                has_changed = heartbeats.looked(look.beats, now)
                is_kept = (
                    look.running is not None
                    and heartbeats.is_unresponsive
                    and heartbeats.is_kept(look.running, look.waited_s, now)
                )
                if is_kept and not is_late and look.running is not None:
                    is_dedicated = look.dedicated_to == look.running
                    how = self._noise.blocked(look.running, now, is_dedicated=is_dedicated)
                    if how is not None:
                        noisy.append((look.running, how))
            if has_changed:
                changed.append(worker)
        noisy += self._noise.found(now).items()
        return RoundFindings(tuple(changed), tuple(noisy))

    def silent_s(
        self, worker: int, beats: int, waited_s: float, now: float, most_s: float
    ) -> float:
        """Seconds for which its loop is blocked, see `BlockedLoopTimer.looked`; busy or not."""
        timer = self._timers.setdefault(worker, BlockedLoopTimer())
        return timer.looked(beats, waited_s, now, most_s)

    def batch_given(self, connection: str, events: int) -> None:
        """A worker has a batch of it."""
        self._noise.given(connection, events)

    def forget_worker(self, worker: int) -> None:
        """It is gone."""
        self._heartbeats.pop(worker, None)
        self._timers.pop(worker, None)

    def forget_connection(self, connection: str) -> None:
        """It left the pool."""
        self._noise.forget(connection)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What an unresponsive worker was at, and how long it had waited for a CPU in its life."""

    at: str
    when: float
    waited_s: float


@dataclass(slots=True)
class Heartbeats:
    """Those of one worker that has batches now and then."""

    is_unresponsive: bool = False
    _beats: int | None = None
    _since: float = 0.0
    _seen: _Kept | None = None
    #: the absence for which it was last told what keeps it, by its beginning
    _told_since: float = float("-inf")

    def looked(self, beats: int, now: float) -> bool:
        """It has batches, and has beaten so often by now. Whether `is_unresponsive` changed."""
        before = self.is_unresponsive
        if beats != self._beats:
            self._beats, self._since = beats, now
        self.is_unresponsive = now - self._since > UNRESPONSIVE_S
        return self.is_unresponsive is not before

    def rested(self) -> bool:
        """It has no batches, and need not show anything. Whether `is_unresponsive` changed."""
        before = self.is_unresponsive
        self.is_unresponsive, self._beats = False, None
        return before

    def is_kept(self, at: str, waited_s: float, now: float) -> bool:
        """It is unresponsive in a step of `at`; whether that keeps its loop: once an absence.

        It does where the next look finds it there too, and it was not for want of a CPU.
        """
        seen, self._seen = self._seen, _Kept(at, now, waited_s)
        if (
            seen is None
            or seen.at != at
            or seen.when < self._since
            or self._told_since == self._since
        ):
            return False
        if waited_s - seen.waited_s > (1 - BUSY_SHARE) * (now - seen.when):
            return False
        self._told_since = self._since
        return True


@dataclass(slots=True)
class BlockedLoopTimer:
    """That of one worker."""

    beats: int | None = None
    at: float = 0.0
    waited_s: float = 0.0
    silent_s: float = 0.0

    def looked(self, beats: int, waited_s: float, now: float, most_s: float) -> float:
        """Seconds for which its loop was silent, after a look that found `beats`.

        `waited_s` is what its thread has waited for a CPU in its life; one look
        charges `most_s` at most, however long ago the last one was.
        """
        if self.beats == beats:
            starved = max(0.0, waited_s - self.waited_s)
            self.silent_s += max(0.0, min(now - self.at, most_s) - starved)
        else:
            self.silent_s = 0.0
        self.beats, self.at, self.waited_s = beats, now, waited_s
        return self.silent_s


@dataclass(slots=True)
class _Window:
    """What was seen since `since`; `looks`, and those in which a connection was `at` it."""

    since: float
    looks: int = 0
    at: Counter[str] = field(default_factory=Counter)
    at_dedicated: Counter[str] = field(default_factory=Counter)
    looks_dedicated: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class NoiseMeter:
    """Which connections keep the loops of one pool. What is said of one follows "it"."""

    _seen: dict[str, deque[float]] = field(default_factory=dict)
    _window: _Window | None = None

    def blocked(self, connection: str, now: float, *, is_dedicated: bool) -> str | None:
        """A step of it has blocked its worker's loop for long; what to say if it is noisy."""
        return self._again(connection, "it blocked one", now, is_dedicated=is_dedicated)

    def looked(self, at: str | None, dedicated_to: str | None, now: float) -> None:
        """A worker that has batches was `at` a step of this connection, None: at nobody's."""
        window = self._at(now)
        if dedicated_to is None:
            window.looks += 1
            if at is not None:
                window.at[at] += 1
        else:
            window.looks_dedicated[dedicated_to] += 1
            if at == dedicated_to:
                window.at_dedicated[dedicated_to] += 1

    def given(self, connection: str, events: int) -> None:
        """A worker has a batch of it."""
        if self._window is not None:
            self._window.events[connection] += events

    def found(self, now: float) -> dict[str, str]:
        """Noisy ones by name, with what to say of them; none while there is little to judge by."""
        window = self._at(now)
        if now - window.since < WINDOW_S:
            return {}
        self._window = None
        found = {
            connection: self._again(connection, what, now, is_dedicated=False)
            for connection, what in _dear(window, window.at, dict.fromkeys(window.at, window.looks))
        }
        for connection, what in _dear(window, window.at_dedicated, window.looks_dedicated):
            found[connection] = self._again(connection, what, now, is_dedicated=True)
        return {connection: said for connection, said in found.items() if said is not None}

    def forget(self, connection: str) -> None:
        """It left the pool."""
        self._seen.pop(connection, None)

    def _at(self, now: float) -> _Window:
        if self._window is None:
            self._window = _Window(now)
        return self._window

    def _again(self, connection: str, what: str, now: float, *, is_dedicated: bool) -> str | None:
        """It was seen once more; once is enough in a dedicated worker, where it alone can be it."""
        if is_dedicated:
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
    window: _Window, at: Mapping[str, int], looks: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """Connections that had most of the time and did little in it, and what to say of that."""
    time = window.at.total() + window.at_dedicated.total()
    for connection, seen in at.items():
        if looks[connection] < LEAST_LOOKS or seen < MOST * looks[connection]:
            continue
        others = window.events.total() - window.events[connection]
        if not others:
            continue  # there is nobody that it could keep from anything
        # One look more for them: where there are few of either, that excuses.
        theirs = (time - window.at[connection] - window.at_dedicated[connection] + 1) / others
        times = seen / (window.events[connection] + 1) / theirs
        if times >= DEARER:
            yield (
                connection,
                f"it had them for {seen / looks[connection]:.0%} of the time, at {times:.0f}"
                " times as much an event as the others",
            )
