"""Every row of the torture list, with real processes: who is blamed, and who loses nothing.

| a destination | is tested by |
| --- | --- |
| raises from `deliver`, or from a task, callback, thread or `__del__` that it left behind | the rows `raises`, `raises-in-a-task`, `-callback`, `-thread` and `-del` |
| blocks the loop for a moment at a time; has many short steps | `blocks-for-a-moment`, `takes-many-short-steps`; that it then runs apart: `test_neighbours.py` |
| raises `BaseException`, calls `sys.exit`, `os._exit(3)`, `os.abort()`, stops the loop | `raises-base-exception`, `exits-politely`, `-in-a-task` and `-in-a-callback`, `exits`, `aborts`, `stops-the-loop` |
| segfaults, overflows the C stack, kills its own process | `segfaults`, `overflows-the-stack`, `kills-itself` |
| awaits for ever | `awaits-for-ever` |
| spins; sleeps; blocks in C with the GIL held; ignores SIGTERM and swallows CancelledError | `spins`, `sleeps`, `holds-the-gil`, `ignores-signals`, `swallows-cancellation` |
| kills the worker on one event of a hundred, in company only, once in three | `test_poison.py`: `test_one_of_a_hundred_is_found`, `test_poison_in_company_only_is_delivered`, `test_poison_once_in_three_ends` |
| kills the worker on every event; whenever it has started | `test_poison.py`: `test_killing_at_every_event_trips`, `test_pool_whose_workers_keep_dying_waits_and_says_so` |
| writes another's name into the page that says what ran | `test_poison.py`: `test_forged_mark_costs_the_neighbour_nothing_but_time` |
| leaks a megabyte a batch | `leaks`; beside others with the same events: `process/test_leaks.py` |
| allocates 10 GB at once; builds a list without end; takes memory past Python without hearing of a limit; takes shared memory, which no limit counts | `allocates-at-once`, `allocates-without-end`, `hoards`, `maps-shared-memory`; the snapshot: `process/test_automatic_evidence.py` |
| leaks descriptors; starts 10 000 threads; forks without end, with memory of their own, or so that the child has no parent; leaves a child behind | `leaks-files`, `starts-threads`, `forks-without-end`, `forks-with-memory`, `orphans-a-child`, `leaves-a-child` |
| prints 100 MB; logs 1 GB | `prints`, `prints-past-python`, `logs-without-end` |
| returns too few, too many or the wrong kind of outcomes | `too-few-outcomes`, `too-many-outcomes`, `wrong-outcomes` |
| answers with a frame of 1 GB, of garbage, of a batch that it was never given | `process/test_hostile_workers.py`, each of `LIES` |
| says in its worker's name that a neighbour has used up memory or files | `forges-out-of-memory`, `forges-too-many-files`; more of it: `process/test_forged_reports.py` |
| fills the disk that it may write to, with names or without; nests folders deeper than any walk goes | `fills-its-scratch-folder`, `keeps-unlinked-files`, `nests-folders`; beside them, `writes-a-scratch-file` |
| never returns from its import, takes ten seconds for it, raises in it, ends its worker by it | `test_import`: `hangs`, `slow`, `raises`, `exits` |
| spends a token that the partner takes once | `process/test_tokens.py` |
| meets 401, `invalid_grant`, a certificate that has ended | `test_servers.py`: `refuses-its-key`, `refuses-its-grant`, `has-an-expired-certificate` |
| has a server whose successes are careless HTTP | `test_servers.py`, each of `CARELESS` |
| runs where nobody reads the log, or where idle clients have all connections | `test_surroundings.py` |
| has a server that answers 429, 500, nothing, a byte a second, a gigabyte, with invalid TLS, with a redirect to a private address; that refuses, resets or closes connections | `test_servers.py`, each of `ROWS` |
"""  # noqa: E501 - a table

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.harness.service import RunningService
from tests.harness.waiting import wait_until
from tests.process.client import post, track
from tests.torture.rows import IMPORTS, ROWS, Import, Row
from tests.torture.sections import import_sections, sections
from tests.torture.watching import (
    PATIENCE_S,
    books_of,
    exits_of,
    metric,
    one_service,
    wait_for_delivered,
)

#: How lines that a destination wrote are called in the log.
_WRITTEN = "destination_log|worker_printed"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all rows, so that each of them has all others beside it."""
    directory = tmp_path_factory.mktemp("torture")
    with one_service(directory, sections(ROWS) | import_sections(IMPORTS)) as running:
        for row in ROWS:
            events = [track(f"{row.name}-{n}") for n in range(9)]
            for n in range(row.bad_events):
                events.insert(5, track(f"{row.name}-bad-{n}", "Bad"))
            post(running.url, events, write_key=f"key-{row.name}")
        for imported in IMPORTS:
            events = [track(f"{imported.name}-{n}") for n in range(9)]
            post(running.url, events, write_key=f"key-{imported.name}")
        yield running
        # Rows whose tests were not chosen go on, and their workers with them.
        for row in ROWS:
            running.admin(f"/connections/{row.name}-bad/pause", "POST")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(service: RunningService, row: Row) -> None:
    """The culprit is named with its evidence, and innocents in its batch and beside it arrive."""
    try:
        _check(service, row)
    finally:
        # It has shown what it does; the other rows may have its CPU.
        service.admin(f"/connections/{row.name}-bad/pause", "POST")


def _check(service: RunningService, row: Row) -> None:
    wait_for_delivered(service, f"{row.name}-good", 9 + row.bad_events)
    innocents = 9 + (row.bad_events if row.are_delivered else 0)
    wait_for_delivered(service, f"{row.name}-bad", innocents)
    if row.is_quarantined:
        _assert_quarantined(service, row)
    if row.error:
        wait_until(
            lambda: re.search(row.error, _last_error(service, row)) is not None,
            PATIENCE_S,
            f"{row.error!r} is said of the bad event",
        )
    for event, text in (("stray_exception", row.stray), (_WRITTEN, row.logs)):
        if text:
            _wait_for_log(service, row, event, text)
    if row.exits is None:
        assert exits_of(service, row.name) == []
        return
    wait_until(lambda: bool(exits_of(service, row.name)), PATIENCE_S, "an exit of its worker")
    names: set[str | None] = {None} if row.names_nobody else {f"{row.name}-bad"}
    if row.is_found_by_trial:
        wait_until(
            lambda: any(end["connection"] in names for end in exits_of(service, row.name)),
            PATIENCE_S,
            "an exit that names the bad connection",
        )
        names |= {None}
    for end in exits_of(service, row.name):
        assert end["reason"] == row.exits, json.dumps(end)
        assert re.search(row.detail, end["detail"]), end
        assert end["connection"] in names, end
        assert end["usage"]["max_rss_bytes"] > 0
        if row.stacks:
            text = service.admin(f"/debug/exits/{end['id']}")["stacks_text"]
            assert re.search(row.stacks, text), text
    if row.exits == "leak":
        _assert_replaced_with_no_gap(service, row)


def _assert_replaced_with_no_gap(service: RunningService, row: Row) -> None:
    """All was delivered on the first try; what filled the worker is kept, and charged."""
    books = books_of(service, f"{row.name}-bad")
    assert books["delivered_first_try"] == books["accepted"] == 9 + row.bad_events, books
    assert any(end["snapshot"] for end in exits_of(service, row.name))
    queue = service.queue_of(f"{row.name}-bad")
    assert queue["leak_bytes_per_event"] > 50 * 1024, queue
    assert queue["blame"]["workers_used_up"] >= 1, queue
    assert queue["blame"]["worker_deaths"] == 0, queue
    _wait_for_log(service, row, "connection_leaks", "bytes_per_event")


@pytest.mark.parametrize("row", IMPORTS, ids=lambda row: row.module)
def test_import(service: RunningService, row: Import) -> None:
    """The pool runs without it, its connection says why, and who imported it has an exit."""
    wait_for_delivered(service, f"{row.name}-good", 9)
    bad = f"{row.name}-bad"
    queue = service.queue_of(bad)
    assert (queue["state"], queue["depth"]) == ("tripped", 9)
    assert re.search(row.why, queue["state_reason"]), queue
    assert books_of(service, bad)["pending"] == 9
    (pool,) = [pool for pool in service.admin("/status")["pools"] if pool["name"] == row.name]
    assert pool["state"] == "running"
    with service.log_path.open() as log:
        lines = [json.loads(line) for line in log if "destination_not_loaded" in line]
    assert [line["destination"] for line in lines if re.search(row.why, line["reason"])]
    assert metric(service, f'bulkhead_queue_shut{{connection="{bad}",state="tripped"}}') == 1.0
    ends = service.admin(f"/debug/exits?pool={row.name}&worker={row.name}%23declare")["exits"]
    end = ends[-1]
    assert (end["reason"], end["connection"], end["events"]) == (row.exits, None, [])
    assert re.search(row.detail, end["detail"]), end
    if row.exits == "drain":
        return
    assert end["destination"] == bad
    assert metric(service, f'bulkhead_worker_exits_total{{pool="{row.name}",reason="{row.exits}"}}')
    if row.stacks:
        text = service.admin(f"/debug/exits/{end['id']}")["stacks_text"]
        assert re.search(row.stacks, text), text


def _wait_for_log(service: RunningService, row: Row, event: str, text: str) -> None:
    def is_logged() -> bool:
        with service.log_path.open() as log:
            return any(
                f'"connection": "{row.name}-bad"' in line
                and re.search(f'"message": "({event})"', line)
                and re.search(text, line)
                for line in log
            )

    wait_until(is_logged, PATIENCE_S, f"{text!r} is in the log under the connection's name")


def _assert_quarantined(service: RunningService, row: Row) -> None:
    """Each bad event is a dead letter that says what it did, and nobody else is."""
    connection = f"{row.name}-bad"
    wait_until(
        lambda: books_of(service, connection)["quarantined"] == row.bad_events,
        PATIENCE_S,
        f"the bad events of {connection} are quarantined",
    )
    letters = service.admin(f"/deadletters?connection={connection}")["deadletters"]
    assert {letter["message_id"] for letter in letters} == {
        f"{row.name}-bad-{n}" for n in range(row.bad_events)
    }
    assert {letter["outcome"] for letter in letters} == {"quarantined"}
    assert all(re.search(row.detail, letter["reason"]) for letter in letters), letters
    blame = service.queue_of(connection)["blame"]
    assert blame["worker_deaths"] >= 3, blame
    assert blame["quarantined"] == row.bad_events, blame
    assert service.queue_of(f"{row.name}-good")["blame"]["worker_deaths"] == 0


def _last_error(service: RunningService, row: Row) -> str:
    deliveries = service.admin(f"/events/{row.name}-bad-0")["deliveries"]
    (found,) = [d for d in deliveries if d["connection"] == f"{row.name}-bad"]
    return f"{found['last_error'] or ''} {found['outcome'] or ''}"
