"""What is under way when the row `loss` kills: a reload, a checkpoint, an eviction, a replay, ...

Owns how each phase is brought about, who is killed in it, and whether it was still under way then.
Must not judge what came of it: that is `loss`.
"""

from __future__ import annotations

import enum
import json
import os
import random
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from tests.harness.service import RunningService, ServiceFailed
from tests.harness.sink import SinkProcess
from tests.harness.waiting import wait_until

#: The connection whose partner always takes events, and the one whose partner may not.
STEADY, SHAKY = "steady", "shaky"
#: Its backlog while evictions are wanted: a second of the load is more.
SMALL_BACKLOG = "256KiB"
#: Dead letters that a replay takes: enough that it takes a while.
LETTERS = 5_000
#: Longest wait for something to begin or end, in seconds.
PATIENCE_S = 180.0
#: Longest wait for a checkpoint to begin: two of its own times.
CHECKPOINT_WITHIN_S = 20.0
#: A checkpoint copies for at least so long, in seconds.
CHECKPOINT_S = 0.02
#: Seconds within which the first replay is met; what these are multiplied with after a kill that
#: came while it was under way, and after one that came too late.
REPLAY_S, LONGER, SHORTER = 0.2, 1.25, 0.5


class Phase(enum.StrEnum):
    """When a kill comes."""

    ANY_MOMENT = "any moment"
    RELOAD = "reload"
    CHECKPOINT = "checkpoint"
    EVICTION = "eviction"
    REPLAY = "replay"
    START = "start"
    STOP = "stop"


#: Who is killed how often; what the phases are about is mostly the supervisor's work.
_AT_ANY_MOMENT = {"worker": 6, "zygote": 2, "supervisor": 2}
_AT_WORK = {"worker": 2, "zygote": 1, "supervisor": 4}
#: While it starts it cannot be asked who is who.
_AT_START = {"child": 1, "supervisor": 2}
_AT_STOP = {"worker": 1, "supervisor": 2}


@dataclass
class Tally:
    """The kills of one phase: by victim, and how many came while it was under way."""

    killed: Counter[str] = field(default_factory=Counter)
    under_way: int = 0


class Killer:
    """Kills processes of one service; `shaky` is the sink of the connection of that name.

    `seen` are all processes of the service that there were when something was killed.
    """

    def __init__(
        self,
        service: RunningService,
        sections: Callable[[Mapping[str, object]], dict[str, dict[str, object]]],
        shaky: SinkProcess,
        chance: random.Random,
    ) -> None:
        self.seen: set[psutil.Process] = set()
        self._service = service
        self._sections = sections
        self._shaky = shaky
        self._chance = chance
        self._tally = Tally()
        self._reloads = 0
        #: Seconds within which a kill comes: first what it took when nobody was killed.
        self._within_s = {Phase.REPLAY: REPLAY_S}
        self._ways: dict[Phase, Callable[[], bool]] = {
            Phase.ANY_MOMENT: self._at_any_moment,
            Phase.RELOAD: self._while_reloading,
            Phase.CHECKPOINT: self._while_copying,
            Phase.EVICTION: self._while_evicting,
            Phase.REPLAY: self._while_replaying,
            Phase.START: self._while_starting,
            Phase.STOP: self._while_stopping,
        }

    def kill(self, phase: Phase, kills: int) -> Tally:
        """Kill so often in this phase; afterwards the service runs, with the partner well."""
        self._tally = Tally()
        self._prepare(phase)
        for _ in range(kills):
            is_under_way = self._ways[phase]()
            self._tally.under_way += is_under_way
            if phase in self._within_s:
                # It takes longer or shorter as the machine is busy.
                self._within_s[phase] *= LONGER if is_under_way else SHORTER
        self._shaky.answer_with(200)
        self._follow({})
        return self._tally

    def settle(self) -> None:
        """Wait until everything is delivered, with what had become dead letters sent again."""
        self._service.admin(f"/connections/{SHAKY}/resume", "POST")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._service.wait_for(lambda books: books["pending"] == 0, PATIENCE_S)
            if not self._failed():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._failed()} dead letters are not delivered")
            _replay(self._service)

    # --- what is under way; each says whether it still was ---

    def _prepare(self, phase: Phase) -> None:
        match phase:
            case Phase.EVICTION:
                self._shaky.answer_with(503)
                self._follow({"max_backlog": SMALL_BACKLOG})
            case Phase.RELOAD:
                self._within_s[phase] = _seconds(lambda: self._follow({"weight": 2}))
            case Phase.START | Phase.STOP:
                self._within_s[Phase.STOP] = _seconds(self._service.stop)
                self._within_s[Phase.START] = _seconds(self._service.start)
            case Phase.ANY_MOMENT | Phase.CHECKPOINT | Phase.REPLAY:
                pass

    def _at_any_moment(self) -> bool:
        # At any moment of a batch, and sometimes before the last kill is repaired.
        self._pause(0.02, 0.2)
        self._kill_one(_AT_ANY_MOMENT)
        return True

    def _while_reloading(self) -> bool:
        self._reloads += 1
        if self._reloads % 2:  # every worker is renewed
            pool = {"batch_timeout": f"{20 + self._reloads}s"}
            self._service.sections = self._sections({}) | {
                "pools.default": {**self._sections({})["pools.default"], **pool}
            }
        else:
            self._service.sections = self._sections({"weight": 1 + self._reloads})
        is_over = self._ask_for_reload()
        self._pause(0.0, self._within_s[Phase.RELOAD])
        is_under_way = not is_over()
        if self._kill_one(_AT_WORK) != "supervisor":
            wait_until(is_over, PATIENCE_S, "the reload ends")
        return is_under_way

    def _while_copying(self) -> bool:
        database = self._service.directory / "state" / "queue.db"
        before = database.stat().st_mtime_ns
        deadline = time.monotonic() + CHECKPOINT_WITHIN_S
        # It is written to by checkpoints alone; everything else is in the log.
        while database.stat().st_mtime_ns == before:
            if time.monotonic() > deadline:
                self._kill_one({"supervisor": 1})
                return False
            time.sleep(0.0005)
        self._pause(0.0, CHECKPOINT_S)
        self._kill_one({"supervisor": 1})
        return True

    def _while_evicting(self) -> bool:
        before = self._failed()
        wait_until(lambda: self._failed() > before, PATIENCE_S, "the backlog is evicted")
        self._pause(0.0, 0.05)
        self._kill_one(_AT_WORK)
        return True

    def _while_replaying(self) -> bool:
        self._shaky.answer_with(400)
        wait_until(lambda: self._failed() >= LETTERS, PATIENCE_S, "there are dead letters")
        self._shaky.answer_with(200)
        with ThreadPoolExecutor(1) as thread:
            replay = thread.submit(_replay, self._service)
            self._pause(0.0, self._within_s[Phase.REPLAY])
            is_under_way = not replay.done()
            victim = self._kill_one(_AT_WORK)
            error = replay.exception(PATIENCE_S)
            if victim != "supervisor" and error is not None:
                raise error
        return is_under_way

    def _while_starting(self) -> bool:
        self._kill_supervisor()
        self._service.begin()
        self._pause(0.0, self._within_s[Phase.START])
        is_under_way = not self._service.is_ready()
        (victim,) = self._chance.choices(list(_AT_START), list(_AT_START.values()))
        children = self._look()
        if victim == "child" and children:
            self._tally.killed[victim] += 1
            self._chance.choice(children).kill()
            self._service.await_ready()
        else:
            self._kill_supervisor()
            self._service.start()
        return is_under_way

    def _while_stopping(self) -> bool:
        workers = self._service.worker_pids()
        os.kill(self._service.pid, signal.SIGTERM)
        self._pause(0.0, self._within_s[Phase.STOP])
        (victim,) = self._chance.choices(list(_AT_STOP), list(_AT_STOP.values()))
        is_under_way = psutil.Process(self._service.pid).status() != psutil.STATUS_ZOMBIE
        if victim == "worker" and workers and _killed(self._chance.choice(workers)):
            self._tally.killed[victim] += 1
            self._service.await_end()
        else:
            self._kill_supervisor()
        self._service.start()
        return is_under_way

    # --- how ---

    def _pause(self, least_s: float, most_s: float) -> None:
        time.sleep(self._chance.uniform(least_s, most_s))

    def _kill_one(self, weights: Mapping[str, int]) -> str:
        """Kill, and start the service again where it was the supervisor; who was killed."""
        (victim,) = self._chance.choices(list(weights), list(weights.values()))
        if victim == "supervisor":
            self._kill_supervisor()
            self._service.start()
        else:
            self._look()
            self._kill_child(victim)
            self._tally.killed[victim] += 1
        return victim

    def _kill_supervisor(self) -> None:
        self._look()
        self._service.kill()
        self._tally.killed["supervisor"] += 1

    def _kill_child(self, victim: str) -> None:
        """SIGKILL of the zygote or of any worker, once there is one."""

        def is_killed() -> bool:
            zygote = self._service.admin("/status")["zygote"]["pid"]
            pids = self._service.worker_pids() if victim == "worker" else [zygote]
            found = [pid for pid in pids if pid]
            # It may have died of an earlier kill since: then of its replacement.
            return bool(found) and _killed(self._chance.choice(found))

        wait_until(is_killed, PATIENCE_S, f"there is a {victim} to kill")

    def _look(self) -> list[psutil.Process]:
        """Processes below the supervisor."""
        try:
            children = psutil.Process(self._service.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []  # it has ended by itself
        self.seen.update(children)
        return children

    def _failed(self) -> int:
        failed: int = self._service.admin("/books")["connections"][SHAKY]["failed"]
        return failed

    def _follow(self, shaky: Mapping[str, object]) -> None:
        """Reload, with these keys of the shaky connection. Raises where that is refused."""
        self._service.sections = self._sections(shaky)
        wait_until(self._ask_for_reload(), PATIENCE_S, "the config is reloaded")

    def _ask_for_reload(self) -> Callable[[], bool]:
        """Write the config and send SIGHUP; the function says whether the reload is over."""
        self._service.write_config()
        log = self._service.log_path
        begin = log.stat().st_size
        os.kill(self._service.pid, signal.SIGHUP)

        def is_over() -> bool:
            with log.open("rb") as lines:
                lines.seek(begin)
                text = lines.read()
            if b'"reload_refused"' in text or b'"reload_failed"' in text:
                raise ServiceFailed(f"a reload came to nothing\n{self._service.log_tail()}")
            return b'"config_reloaded"' in text

        return is_over


def _replay(service: RunningService) -> None:
    """Send the dead letters of the shaky connection again. Raises OSError or HTTPException."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.admin_port}/deadletters/replay",
        data=json.dumps({"connection": SHAKY}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - see above
        answer.read()


def _killed(pid: int) -> bool:
    """SIGKILL; whether there was still such a process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
