import sqlite3
from pathlib import Path

import pytest

from farm.coordinator.journal import Journal
from farm.coordinator.journal_file import MIGRATIONS, Connection, decode_spec, encode_spec
from farm.coordinator.journal_reader import JournalReader
from farm.domain import AttemptState, ImageSpec, ImageState, JobState
from farm.errors import JournalError
from farm.scheduler import events as ev
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from farm.scheduler.trouble import Loss
from tests.builders import attempt_started, image_committed, job_opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal(path)


@pytest.fixture
def reader(journal: Journal, path: Path) -> JournalReader:
    return JournalReader(path)


def job_ended(job_id: str = "j") -> ev.JobEnded:
    return ev.JobEnded(
        job_id=job_id,
        time=9.0,
        state=JobState.SUCCEEDED,
        reason="",
        succeeded_count=1,
        failed_count=0,
        start_time=1.0,
        next_attempt_number=2,
        losses=(Loss(2.0, 1, "w", 0, 4, AttemptState.ABANDONED, "its worker fell silent"),),
    )


def image_failed(index: int, is_final: bool) -> ev.ImageFailed:
    return ev.ImageFailed("j", 3.0, 1, index, "w", "BAD", "it is bad", is_final)


def accept(journal: Journal, prompts: int = 4, job_id: str = "j") -> None:
    journal.stage(job_id, "")
    journal.stage_entries(job_id, 0, [encode_spec(ImageSpec(prompt=f"p{i}")) for i in range(prompts)])


def test_a_transaction_that_has_returned_is_flushed_to_the_disk(path: Path) -> None:
    sql = Connection(path).sql
    asked = {name: sql.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous", "fullfsync")}
    assert asked == {"journal_mode": ("wal",), "synchronous": (2,), "fullfsync": (1,)}


def test_what_is_replayed_is_what_was_written_in_its_order(journal: Journal, reader: JournalReader) -> None:
    events: list[ev.DurableEvent] = [
        job_opened(),
        attempt_started(),
        image_committed(index=2),
        image_failed(1, is_final=False),
        ev.JobPaused("j", 4.0, "by alice"),
        ev.JobPrioritized("j", 4.0, 7),
        ev.WorkerDrained("w", 5.0, now=True),
        image_failed(0, is_final=True),
    ]
    journal.append(list(enumerate(events, 1)))
    assert list(reader.replay()) == events
    assert reader.sequence() == len(events)


def test_a_job_that_has_ended_costs_a_restart_nothing(journal: Journal, reader: JournalReader, path: Path) -> None:
    accept(journal, 1)
    history: list[ev.DurableEvent] = [
        job_opened(image_count=1),
        attempt_started(image_count=1),
        image_committed(),
        job_ended(),
    ]
    journal.append(list(enumerate(history, 1)))
    assert list(reader.replay()) == []
    row = reader.job("j")
    assert row is not None
    assert (row.state, row.succeeded_count, row.end_time) == (JobState.SUCCEEDED, 1, 9.0)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM events").fetchone() == (0,)
    assert [image.result for image in reader.images("j", frozenset({ImageState.SUCCEEDED}), False, -1, 9)] == [
        image_committed()
    ]


def test_a_job_that_is_tried_again_replays_from_there(journal: Journal, reader: JournalReader) -> None:
    accept(journal, 2)
    first: list[ev.DurableEvent] = [
        job_opened(image_count=2),
        attempt_started(image_count=2),
        image_committed(index=0),
        image_failed(1, is_final=True),
        job_ended(),
    ]
    again = ev.JobOpened("j", 20.0, job_opened().spec, "alice", 0, 2, ((1, 2),), 1, 2, 0.0)
    retried: list[ev.DurableEvent] = [again, attempt_started(number=2, first_index=1, image_count=1)]
    journal.append(list(enumerate(first + retried, 1)))
    assert list(reader.replay()) == retried
    state = FarmState()
    for event in reader.replay():
        apply(state, event)
    assert state.jobs["j"].attempts[2].task.remaining == {1}
    assert [(row.index, row.result is None) for row in reader.images("j", frozenset(ImageState), True, -1, 9)] == [
        (0, False),
        (1, True),
    ]


def test_entries_that_never_became_a_job_are_seen_by_nobody_and_removed(
    journal: Journal, reader: JournalReader, path: Path
) -> None:
    accept(journal, job_id="never")
    assert reader.job("never") is None
    assert reader.job_ids() == set()
    journal.unstage_all()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM entries").fetchone() == (0,)


def test_a_transaction_that_fails_leaves_nothing_behind(journal: Journal, reader: JournalReader) -> None:
    accept(journal)
    journal.append([(1, job_opened()), (2, attempt_started()), (3, image_committed())])
    with pytest.raises(sqlite3.IntegrityError):
        journal.append([(4, image_committed(index=1)), (5, image_committed(index=0))])
    assert reader.sequence() == 3
    assert reader.committed("j") == {0: (1, "0" * 64)}


def test_settled_images_are_told_in_the_order_in_which_they_were_settled(
    journal: Journal, reader: JournalReader
) -> None:
    accept(journal)
    journal.append([(1, job_opened()), (2, attempt_started()), (3, image_committed(index=3)), (4, image_committed())])
    assert [(row.index, row.sequence) for row in reader.settled_since("j", 0, 9)] == [(3, 3), (0, 4)]
    assert [row.index for row in reader.settled_since("j", 3, 9)] == [0]


def test_an_image_spec_comes_back_as_it_went_in() -> None:
    spec = ImageSpec(prompt='a "red"\n圆', seed=0, guidance_scale=0.0, init_image=b"\x00\xff")
    assert decode_spec(encode_spec(spec).decode()) == spec


def test_a_journal_of_an_older_version_is_taken_to_the_new_one_with_all_it_holds(path: Path) -> None:
    Journal(path).append([(1, job_opened())])
    newer = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'")
    Journal(path, newer).close()
    assert sqlite3.connect(path).execute("SELECT job_id, colour FROM jobs").fetchall() == [("j", "blue")]
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (len(newer),)


def test_what_a_live_jobs_images_cost_is_taken_over_from_a_journal_that_had_no_column_for_it(path: Path) -> None:
    Journal(path, MIGRATIONS[:5]).close()
    with sqlite3.connect(path) as sql:
        for job_id, body in (("live", '{"evaluations": 30}'), ("older", "{}"), ("ended", None)):
            sql.execute(
                """
                INSERT INTO jobs (job_id, submitter, spec, priority, image_count, create_time, live_since)
                VALUES (?, 'alice', '{"model": "shapes"}', 0, 1, 0, 1)
                """,
                (job_id,),
            )
            if body:
                sql.execute("INSERT INTO events (job_id, kind, body) VALUES (?, 'JobOpened', ?)", (job_id, body))
    Journal(path).close()
    rows = [JournalReader(path).job(job_id) for job_id in ("live", "older", "ended")]
    assert [row and row.evaluations for row in rows] == [30, 0, 0]


def test_a_journal_of_a_newer_version_is_refused_with_a_way_out(path: Path) -> None:
    Journal(path, (*MIGRATIONS, "CREATE TABLE later (x)")).close()
    with pytest.raises(JournalError, match="written by a newer one"):
        Journal(path)


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"these are not the bytes of a database" * 100)
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(path)
    assert path.read_bytes().startswith(b"these are not")
