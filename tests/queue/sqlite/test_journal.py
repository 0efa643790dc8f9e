"""A journal has everything since the last commit, each thing once."""

from __future__ import annotations

from supervisor.queue.sqlite.chunk_progress import Chunk, ChunkProgress
from supervisor.queue.sqlite.counters import FIRST_TRY, PENDING, PENDING_BYTES
from supervisor.queue.sqlite.journal import Journal


def a_chunk() -> tuple[Chunk, ChunkProgress, ChunkProgress]:
    """Two events, both for connections 1 and 2."""
    chunk = Chunk(1, 2, 1.0, 100)
    return chunk, chunk.add(1, 0b11), chunk.add(2, 0b11)


def test_progress_is_written_as_it_is_when_the_journal_is_sealed() -> None:
    """However often it was noted: one row, with what is done by then."""
    _, progress, _ = a_chunk()
    journal = Journal()
    assert journal.is_empty
    for bit in (0b01, 0b10):
        progress.settle(bit, unsupported=bit & 0b10)
        journal.note_progress(progress)
    journal.seal()
    assert journal.sealed == [(1, 1, b"\x03", b"\x02", b"")]
    assert not journal.is_empty


def test_finished_chunk_takes_its_progress_along() -> None:
    """The chunk goes with the same commit: what was done of it need not be written."""
    chunk, one, other = a_chunk()
    journal = Journal()
    for progress in (one, other):
        progress.settle(0b11)
        journal.note_progress(progress)
    assert not chunk.is_idle
    journal.note_finished(chunk)
    assert (journal.finished, journal.dirty) == ([chunk], {})
    assert chunk.is_idle


def test_journal_that_failed_goes_in_front_of_what_followed() -> None:
    """Order and sums are kept; intake is not, since it was refused."""
    before, after = Journal(), Journal()
    for number, journal in enumerate((before, after)):
        journal.statements.append((f"statement {number}", ()))
        journal.count_ended(7, FIRST_TRY, 1, 100)
    merged = before.put_before(after)
    assert [sql for sql, _ in merged.statements] == ["statement 0", "statement 1"]
    delta = merged.deltas[7]
    assert (delta[FIRST_TRY], delta[PENDING], delta[PENDING_BYTES]) == (2, -2, -200)


def test_progress_that_two_journals_noted_is_unwritten_once() -> None:
    """A commit that failed must not keep the chunk in memory after the one that goes through."""
    chunk, progress, other = a_chunk()
    before, after = Journal(), Journal()
    progress.settle(0b01)
    before.note_progress(progress)
    progress.settle(0b10)
    after.note_progress(progress)
    after.note_progress(other)
    merged = before.put_before(after)
    for written in merged.dirty:
        written.chunk.progress_written()
    assert chunk.is_idle
