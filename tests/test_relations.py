"""Numbers that have to agree, in whichever modules they stand: what a comment says of two, holds.

Times are looked up by the page of timings in `supervisor/runtime/README.md`, so that one place says
where each of them stands.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from destinations.drift import Drift
from destinations.kit import Destination, PerEvent
from destinations.kit.contract import EVENT_TYPES
from destinations.salesforce import Salesforce
from sandbox import diagnostics, protocol, worker
from sandbox.jail import alone, rules
from sandbox.output import MAX_LINE
from sandbox.protocol import Sampled
from sandbox.samples import A_REASON
from supervisor.config import Config, ConfigError, load
from supervisor.config.types import Pool, Service
from supervisor.core.isolation import responsiveness
from supervisor.delivery import connections, watchdog
from supervisor.diagnostics.collector import Kind
from supervisor.egress import broker
from supervisor.ingest import router
from supervisor.insight import sample_file, sample_records
from supervisor.workers.resources import uids
from supervisor.workers.resources.provision import MAX_PROCESSES

PAGE = Path(__file__).parent.parent / "supervisor/runtime/README.md"
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<value>[\d.]+) \| `(?P<where>[\w.]+)` \| .+ \|")
#: Seconds that a destination's `close` gets.
CLOSE_S = 1.0


class Timings:
    """The page: a value by its name, as the code has it."""

    def __init__(self) -> None:
        rows = [match for line in PAGE.read_text().splitlines() if (match := ROW.fullmatch(line))]
        self.rows = {(row["name"], row["where"]): float(row["value"]) for row in rows}

    def __getattr__(self, name: str) -> float:
        """The code's value of a name that the page has once."""
        (where,) = [where for row_name, where in self.rows if row_name == name]
        return self.at(name, where)

    def at(self, name: str, where: str) -> float:
        """The code's value of `name` in the module `where`."""
        return float(getattr(importlib.import_module(where), name))


T = Timings()


@pytest.mark.parametrize(("name", "where"), T.rows, ids=lambda part: part)
def test_the_page_of_timings_is_true(name: str, where: str) -> None:
    """Each row names a constant that is there, and has its value."""
    assert T.at(name, where) == T.rows[name, where]


def test_the_page_of_timings_has_its_rows() -> None:
    """Every line of its tables is read: a row in another form would be checked by nobody."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(lines) == len(T.rows)
    assert len(lines) > 40


def test_a_worker_that_beats_is_not_away() -> None:
    """Two beats and a look fit into the time after which a worker is unresponsive."""
    assert T.ROUND_S <= T.BUSY_BEAT_S
    assert 2 * T.BUSY_BEAT_S <= T.UNRESPONSIVE_S
    assert T.ROUND_S < T.LATE_S < T.UNRESPONSIVE_S


def test_beats_and_looks_are_shorter_than_any_block_timeout(tmp_path: Path) -> None:
    """A loop beats, and is looked at, several times before it may count as blocked."""
    with pytest.raises(ConfigError, match="block_timeout"):
        config(tmp_path, block_timeout="9ms")
    shortest_s = config(tmp_path, block_timeout="10ms").pools["default"].block_timeout_s
    assert shortest_s >= worker.BEATS_A_TIMEOUT * T.SHORTEST_BEAT_S
    assert worker.BEATS_A_TIMEOUT > watchdog.LOOKS
    assert Pool(name="usual", destinations=()).block_timeout_s >= watchdog.LOOKS * T.LONGEST_S
    assert T.BUSY_BEAT_S <= T.SHORTEST_S <= T.LONGEST_S


def test_a_window_of_looks_holds_enough_of_them() -> None:
    """Looks that are judged together are as many as it takes to judge."""
    assert responsiveness.LEAST_LOOKS * T.ROUND_S <= T.WINDOW_S


def test_who_knows_more_of_a_late_batch_speaks_first() -> None:
    """The runner cancels and gives up before the supervisor kills, in a dry run too."""
    assert T.at("GRACE_S", "supervisor.delivery.dispatcher") > T.CANCEL_S
    assert importlib.import_module("supervisor.dryrun.dry_run").GRACE_S > T.CANCEL_S
    assert T.at("GRACE_S", "supervisor.delivery.dispatcher") > T.DEADLINES_S


def test_a_lease_outlives_its_batch() -> None:
    """A lease's term is batch timeout, grace and slack: no worker still has what is leased anew."""
    killed_s = T.DEADLINES_S + T.STACKS_S + T.LAST_WORDS_S
    assert killed_s < T.LEASE_SLACK_S
    assert T.LEASE_SLACK_S < T.EXTEND_S < T.HOLD_S


def test_a_connection_fails_before_its_exchange_does() -> None:
    """A delivery's reason then says that there was no connection."""
    assert T.TRY_S < T.LOOKUP_S < T.ANSWER_S < PerEvent.timeout_s
    assert T.HEAD_START_S < T.ANSWER_S
    assert PerEvent.timeout_s < T.at("_ANSWER_S", "supervisor.tapes.upstream")


def test_waits_that_a_retry_after_asks_for() -> None:
    """What the kit obeys is believed; what a sender is told starts below its cap."""
    assert T.MAX_VENDOR_WAIT_S <= T.MAX_OUTCOME_WAIT_S
    assert T.RETRY_DRAINING_S < T.RETRY_UNAVAILABLE_S < T.MAX_SENDER_WAIT_S


def test_a_stop_has_time_for_its_steps() -> None:
    """The last bound is for what hangs in no step; the unit of systemd waits for it."""
    assert T.LAST_REQUEST_S < T.STEP_S
    steps_s = T.KILLED_S + T.ENDED_S + 2 * T.STEP_S
    assert steps_s < T.LAST_BOUND_S
    unit = Path(__file__).parent.parent / "config/systemd/bulkhead.service"
    limit = re.search(r"^TimeoutStopSec=(\d+)s$", unit.read_text(), re.M)
    assert limit is not None
    assert Service().drain_timeout_s + T.LAST_BOUND_S < int(limit[1])


def test_who_waits_for_a_process_hears_of_its_end_first() -> None:
    """A zygote that hangs is replaced before what waits for it is given up."""
    assert T.FORK_S < T.WARM_S < T.ORDER_S
    assert T.FORK_S < T.FORK_MOST_S
    assert T.WARM_S < T.WARM_MOST_S
    assert T.BEGIN_S < T.STILL_S < T.at("END_S", "supervisor.diagnostics.collector")
    assert T.STILL_S < T.TURN_S


def test_the_last_lines_get_a_second_try() -> None:
    """The end waits longer than the log rests after a line that could not be written."""
    assert T.REST_S < T.LAST_LINES_S


def test_who_renews_a_token_gives_up_first() -> None:
    """A worker has the right for longer than it tries, and tries for longer than a request."""
    assert max(Salesforce.timeout_s, Drift.timeout_s, PerEvent.timeout_s) < T.RENEW_S < T.GRANT_S


def test_a_start_leaves_time_for_its_parts() -> None:
    """A worker that is adopted and warmed up as slowly as it may is still not late."""
    warm_up_s = T.at("WARM_UP_S", "sandbox.runner")
    assert T.ADOPTION_S + warm_up_s < T.START_TIMEOUT_S


def test_an_end_leaves_time_for_its_parts() -> None:
    """A worker that writes stacks, or closes its destinations, is not killed for it."""
    assert T.STACKS_LOOK_S * 10 < T.STACKS_S < T.EXIT_S
    assert CLOSE_S < T.EXIT_S


def test_evidence_ends_by_itself_first() -> None:
    """The process that knows why it takes so long says so, before another ends it."""
    limits = diagnostics.SNAPSHOT_LIMITS
    assert limits.walk_s < limits.total_s < T.END_S
    assert T.AT_ONCE_S < T.BEGIN_S < T.END_S
    assert T.MOST_PROFILE_S < T.END_S
    assert T.BEGIN_S + T.END_S < T.DOWNLOAD_TIMEOUT_S
    assert T.at("TIMEOUT_S", "supervisor.diagnostics.reports") > T.MAX_CPU_S
    assert T.at("_TIMEOUT_S", "supervisor.commands.heap") > T.MAX_CPU_S


def test_both_sides_hold_a_worker_to_the_same() -> None:
    """A copy that writes evidence fits among the processes, and those among the tasks."""
    assert MAX_PROCESSES < protocol.MAX_TASKS
    assert protocol.evidence_allowance(0) == protocol.EVIDENCE_BYTES
    assert protocol.evidence_allowance(1 << 30) == protocol.EVIDENCE_SHARE * (1 << 30)
    assert get_type_hints(protocol.Collect)["kind"] == Kind


def test_every_profile_has_its_rules() -> None:
    """What the config takes for a profile, the jail has a table for."""
    for profile in protocol.PROFILES:
        assert list(rules.rules(profile, own_pid=1, brokered=True))


def test_event_types_are_the_same_on_both_sides() -> None:
    """What the router knows for a type, a destination may declare."""
    assert set(router.EVENT_TYPES) == EVENT_TYPES == Destination.types


def test_frames_hold_what_they_have_to_carry(tmp_path: Path) -> None:
    """A batch of the largest size, or of the largest event that a config may allow, has room."""
    with pytest.raises(ConfigError, match="max_event"):
        config(tmp_path, max_event="9MiB")
    largest_event = config(tmp_path, max_event="8MiB").api.max_event
    assert 2 * largest_event < protocol.MAX_FRAME_TO_WORKER
    assert 2 * connections.MAX_BATCH_BYTES < protocol.MAX_FRAME_TO_WORKER
    assert protocol.MAX_DETAIL < protocol.MAX_TRACEBACK < protocol.MAX_FRAME_FROM_WORKER
    assert protocol.MAX_DETAIL >= MAX_LINE


def test_requests_for_connections_have_room() -> None:
    """One connection cannot use up what all of a worker may ask for, nor the descriptors."""
    assert protocol.MAX_ASKED_PER_CONNECTION < protocol.MAX_ASKED
    assert broker.MOST_UNREAD < protocol.MAX_ASKED


def test_no_worker_has_the_uid_of_a_report() -> None:
    """The process that reads a snapshot is a user of its own."""
    assert alone.UID < uids.FIRST_UID


def test_a_worker_may_write_its_evidence() -> None:
    """A text of evidence fits into the largest file that the jail allows."""
    texts = importlib.import_module("supervisor.app.diagnostics").MAX_TEXT_BYTES
    assert texts < protocol.SCRATCH_DISK_BYTES


def config(folder: Path, *, block_timeout: str = "1s", max_event: str = "1MiB") -> Config:
    """A config with these two settings."""
    path = folder / "b.toml"
    path.write_text(
        f'[api]\nmax_request = "32MiB"\nmax_event = "{max_event}"\n'
        f'[pools.default]\ndestinations = ["*"]\nblock_timeout = "{block_timeout}"\n'
    )
    return load(path, environ={}, builtin=set())


def test_a_sample_fits_its_frame_and_what_is_kept_of_it() -> None:
    """The longest that a worker may tell, in characters of four bytes, goes into one frame."""
    text = protocol.MAX_METHOD + protocol.MAX_URL
    headers = protocol.MAX_HEADERS * (protocol.MAX_HEADER_NAME + protocol.MAX_HEADER)
    bodies = protocol.MAX_REQUEST_BODY + protocol.MAX_ANSWER_BODY
    assert 4 * (text + 2 * headers) + bodies < protocol.FRAME_SIZES[protocol.tag_of(Sampled)]
    assert bodies + protocol.MAX_URL < sample_records.SAMPLE_BYTES < sample_file.MAX_RECORD
    assert A_REASON >= sample_file.A_CAUSE
