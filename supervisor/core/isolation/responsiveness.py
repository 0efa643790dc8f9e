"""Whether the event loops of a pool's workers run, and which connection keeps them from the others.

Owns four judgements on one record a worker, from looks at its heartbeats and at what it is at:

- **unresponsive**: it has batches and has not beaten for a few beats. It gets nothing more until it
  beats again: what it was given would wait too, at worst until it is killed. Others have room.
- **kept**: it was found in a step of the same connection at two looks in a row of one absence, and
  not for want of a CPU. Three times within a while is no accident: a **noisy neighbour**.
- **dear**: a connection whose steps are short, but so many that most of the loops' time is its own,
  though it gets little done in it. Three times within a while: a noisy neighbour too.

  Nobody is one without **company**: another connection has a batch in that worker, or waits for a
  place in any. One that is alone with its work keeps it from nobody, and may have all the loops. In
  a worker of its own it shows what it would do to others: there it is enough that another had work
  of late.
- **blocked**: seconds for which a loop was silent, of time that counts (`core/counted_time.py`): a
  machine that stalls must not have its workers killed. Beats can be forged,
  so one that has batches is asked over its wire too, and silent there whatever its page says.

Whose step runs is the page's word, which any connection in the worker can write, in the name of any
other. It counts where that one has a batch there, and names nobody: neither batches nor CPU time
tell connections of one process apart. So with what keeps a loop come the `others` that may have
done it in that one's stead, all that ever had a batch in that worker; who is named is seen at it in
a worker that no other ever had. There the page is not asked: what keeps that loop is its own.

None of them kills a worker or charges a death. Must not know workers: its caller tells what it saw.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from supervisor.core.counted_time import CountedTime, CpuTimes

#: Seconds without a beat after which a busy worker is unresponsive: two or three beats.
UNRESPONSIVE_S = 0.05
#: Seconds between two rounds of looks at busy workers; and since the last one, after which a round
#: is late: what it finds may be the fault of a machine that stalled.
ROUND_S, LATE_S = 0.02, 0.04
#: Share of the time between two looks at an unresponsive worker that must count, for what it is at
#: to be what keeps it.
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

    It has beaten `beats` times, and is in a step of the connection `running`, which has a batch in
    it, or in nobody's. `times` is what it had of the CPUs, None where it comes round.
    `dedicated_to` is the connection that has it for itself. `has_company`: other connections than
    the running one have batches in it, or wait. `ever` are all that ever had one there.
    """

    beats: int
    running: str | None
    times: CpuTimes | None
    dedicated_to: str | None = None
    has_company: bool = False
    ever: Collection[str] = ()

    @property
    def others(self) -> frozenset[str]:
        """Who may be at it in place of the running one."""
        return frozenset() if self.dedicated_to else frozenset(self.ever) - {self.running or ""}


@dataclass(frozen=True, slots=True)
class Noise:
    """A connection keeps loops from others, or one of the `others` does; `how` follows "it"."""

    connection: str
    how: str
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RoundFindings:
    """What a round of looks found: workers that became responsive or ceased to be, by number.

    `noisy` is what keeps loops from others.
    """

    changed: tuple[int, ...]
    noisy: tuple[Noise, ...]


class Responsiveness:
    """That of one pool's workers. Times are seconds of a clock that does not go back."""

    def __init__(self) -> None:
        self._heartbeats: dict[int, Heartbeats] = {}
        self._clocks: dict[int, CountedTime] = {}
        self._timers: dict[int, BlockedLoopTimer] = {}
        self._wires: dict[int, BlockedLoopTimer] = {}
        self._noise = NoiseMeter()
        self._round_at = float("-inf")

    def is_unresponsive(self, worker: int) -> bool:
        """Whether it does not come round to what it is sent."""
        heartbeats = self._heartbeats.get(worker)
        return heartbeats is not None and heartbeats.is_unresponsive

    def is_away(self, worker: int, beats: int, now: float) -> bool:
        """Whether a look now, which finds that it has beaten so often, finds it unresponsive."""
        heartbeats = self._heartbeats.get(worker)
        return heartbeats is not None and heartbeats.is_away(beats, now)

    def round(self, looks: Mapping[int, LoopLook | None], now: float) -> RoundFindings:
        """Every worker that takes batches was looked at; None: it has no batches."""
        is_late, self._round_at = now - self._round_at > LATE_S, now
        changed: list[int] = []
        noisy: list[Noise] = []
        for worker, look in looks.items():
            heartbeats = self._heartbeats.setdefault(worker, Heartbeats())
            if look is None:
                has_changed = heartbeats.rested()
            else:
                if not is_late:
                    self._noise.looked(look, now)
                has_changed = heartbeats.looked(look.beats, now)
                if not is_late and look.running is not None and self._is_noise(look, now):
                    how = self._kept(heartbeats, look, look.running, now)
                    if how is not None:
                        noisy.append(Noise(look.running, how, look.others))
            if has_changed:
                changed.append(worker)
        noisy += self._noise.found(now)
        return RoundFindings(tuple(changed), tuple(noisy))

    def _is_noise(self, look: LoopLook, now: float) -> bool:
        """Whether what keeps this loop would keep it from anybody."""
        if look.running is None or look.dedicated_to != look.running:
            return look.has_company
        return self._noise.had_company(look.running, now)

    def _kept(self, heartbeats: Heartbeats, look: LoopLook, running: str, now: float) -> str | None:
        """What to say of a connection whose step keeps this loop, where it is noisy."""
        if look.times is None or not heartbeats.is_unresponsive:
            return None
        if not heartbeats.is_kept(running, look.times, now):
            return None
        return self._noise.blocked(running, now, is_dedicated=look.dedicated_to == running)

    def counted_s(self, worker: int, times: CpuTimes, now: float, most_s: float) -> float:
        """A worker is looked at; what counts of the time since the last look, `most_s` at most."""
        return self._clocks.setdefault(worker, CountedTime()).looked(times, now, most_s)

    def lost_s(self, worker: int) -> float:
        """Seconds of its life that did not count."""
        clock = self._clocks.get(worker)
        return 0.0 if clock is None else clock.lost_s

    def silent_s(self, worker: int, beats: int, counted_s: float) -> float:
        """Seconds for which its loop is blocked, see `BlockedLoopTimer.looked`; busy or not."""
        return self._timers.setdefault(worker, BlockedLoopTimer()).looked(beats, counted_s)

    def unread_s(self, worker: int, answers: int | None, counted_s: float) -> float:
        """Seconds for which it has not read what its wire holds, by the count of its answers.

        The same as `silent_s` in all else; None: it has no batches, and is not asked.
        """
        if answers is None:
            self._wires.pop(worker, None)
            return 0.0
        return self._wires.setdefault(worker, BlockedLoopTimer()).looked(answers, counted_s)

    def batch_given(self, connection: str, events: int, now: float) -> None:
        """A worker has a batch of it."""
        self._noise.given(connection, events, now)

    def forget_worker(self, worker: int) -> None:
        """It is gone."""
        self._heartbeats.pop(worker, None)
        self._clocks.pop(worker, None)
        self._timers.pop(worker, None)
        self._wires.pop(worker, None)

    def forget_connection(self, connection: str) -> None:
        """It left the pool."""
        self._noise.forget(connection)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What an unresponsive worker was at, and what it had of the CPUs by then."""

    at: str
    when: float
    times: CpuTimes


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
        self.is_unresponsive = self.is_away(beats, now)
        return self.is_unresponsive is not before

    def is_away(self, beats: int, now: float) -> bool:
        """Whether it has not beaten since then for too long."""
        return beats == self._beats and now - self._since > UNRESPONSIVE_S

    def rested(self) -> bool:
        """It has no batches, and need not show anything. Whether `is_unresponsive` changed."""
        before = self.is_unresponsive
        self.is_unresponsive, self._beats = False, None
        return before

    def is_kept(self, at: str, times: CpuTimes, now: float) -> bool:
        """It is unresponsive in a step of `at`; whether that keeps its loop: once an absence.

        It does where the next look finds it there too, and it was not for want of a CPU.
        """
        seen, self._seen = self._seen, _Kept(at, now, times)
        if (
            seen is None
            or seen.at != at
            or seen.when < self._since
            or self._told_since == self._since
        ):
            return False
        clock = CountedTime()
        clock.looked(seen.times, seen.when)
        if clock.looked(times, now) < BUSY_SHARE * (now - seen.when):
            return False
        self._told_since = self._since
        return True


@dataclass(slots=True)
class BlockedLoopTimer:
    """That of one worker."""

    beats: int | None = None
    silent_s: float = 0.0

    def looked(self, beats: int, counted_s: float) -> float:
        """Seconds for which its loop was silent, after a look that found `beats`.

        `counted_s` is what counts of the time since the last look.
        """
        self.silent_s = self.silent_s + counted_s if self.beats == beats else 0.0
        self.beats = beats
        return self.silent_s


@dataclass(slots=True)
class _Window:
    """What was seen since `since`; `looks`, and those in which a connection was `at` it.

    `company` are those of the latter in which others were kept by it, `others` who may have been at
    it in its place.
    """

    since: float
    looks: int = 0
    at: Counter[str] = field(default_factory=Counter)
    company: Counter[str] = field(default_factory=Counter)
    others: dict[str, set[str]] = field(default_factory=dict)
    at_dedicated: Counter[str] = field(default_factory=Counter)
    looks_dedicated: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class NoiseMeter:
    """Which connections keep the loops of one pool. What is said of one follows "it"."""

    _seen: dict[str, deque[float]] = field(default_factory=dict)
    _window: _Window | None = None
    #: the connection that was last at work, and the last one before it that was another
    _last_at_work: tuple[str, float] = ("", float("-inf"))
    _other_at_work: tuple[str, float] = ("", float("-inf"))

    def blocked(self, connection: str, now: float, *, is_dedicated: bool) -> str | None:
        """A step of it has blocked its worker's loop for long; what to say if it is noisy."""
        return self._again(connection, "it blocked one", now, is_dedicated=is_dedicated)

    def looked(self, look: LoopLook, now: float) -> None:
        """What a look at a worker that has batches found."""
        window, at = self._at(now), look.running
        if at is not None:
            self._was_at_work(at, now)
        if look.dedicated_to is None:
            window.looks += 1
            if at is not None:
                window.at[at] += 1
                window.company[at] += look.has_company
                window.others.setdefault(at, set()).update(look.others)
        else:
            window.looks_dedicated[look.dedicated_to] += 1
            if at == look.dedicated_to:
                window.at_dedicated[look.dedicated_to] += 1

    def had_company(self, connection: str, now: float) -> bool:
        """Whether another connection of the pool had work of late."""
        last = self._last_at_work
        at = self._other_at_work[1] if last[0] == connection else last[1]
        return now - at <= WITHIN_S

    def _was_at_work(self, connection: str, now: float) -> None:
        if self._last_at_work[0] != connection:
            self._other_at_work = self._last_at_work
        self._last_at_work = connection, now

    def given(self, connection: str, events: int, now: float) -> None:
        """A worker has a batch of it."""
        self._was_at_work(connection, now)
        if self._window is not None:
            self._window.events[connection] += events

    def found(self, now: float) -> list[Noise]:
        """Noisy ones, each once; none while there is little to judge by."""
        window = self._at(now)
        if now - window.since < WINDOW_S:
            return []
        self._window = None
        found: dict[str, Noise] = {}
        for connection, what in _dear(window, window.at, dict.fromkeys(window.at, window.looks)):
            if window.company[connection]:
                said = self._again(connection, what, now, is_dedicated=False)
                if said is not None:
                    others = frozenset(window.others[connection])
                    found[connection] = Noise(connection, said, others)
        for connection, what in _dear(window, window.at_dedicated, window.looks_dedicated):
            said = self._again(connection, what, now, is_dedicated=True)
            if said is not None:
                found[connection] = Noise(connection, said)
        return list(found.values())

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
