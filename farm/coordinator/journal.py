"""The journal: what the farm promised to remember, in one SQLite file. Nothing else knows SQL.

Tables: `jobs` has a row a job, with its summary once it has ended; `entries` what each image of it is to be; `results`
what became of each settled image; `events` all other durable events of jobs that are live. When a job ends its events
are folded into its row, so a restart costs by what is live and not by what ever was. `staging` names submissions that
are still arriving: their entries are there already, and nobody sees them.

One thread writes, one reads; the methods here block and are called on the right one by the coordinator's loop.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from farm.domain import ImageSpec, ImageState, JobSpec, JobState
from farm.errors import JournalError
from farm.scheduler import events as ev

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        job_id TEXT PRIMARY KEY, submitter TEXT NOT NULL, spec TEXT NOT NULL, priority INTEGER NOT NULL,
        image_count INTEGER NOT NULL, create_time REAL NOT NULL, live_since INTEGER NOT NULL,
        state TEXT, reason TEXT NOT NULL DEFAULT '', succeeded_count INTEGER NOT NULL DEFAULT 0,
        failed_count INTEGER NOT NULL DEFAULT 0, start_time REAL, end_time REAL,
        next_attempt_number INTEGER NOT NULL DEFAULT 1
    ) WITHOUT ROWID;
    CREATE INDEX jobs_by_age ON jobs (create_time, job_id);
    CREATE TABLE entries (
        job_id TEXT NOT NULL, idx INTEGER NOT NULL, spec TEXT NOT NULL, PRIMARY KEY (job_id, idx)
    ) WITHOUT ROWID;
    CREATE TABLE results (
        job_id TEXT NOT NULL, idx INTEGER NOT NULL, sequence INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (job_id, idx)
    ) WITHOUT ROWID;
    CREATE INDEX results_by_sequence ON results (job_id, sequence);
    CREATE TABLE events (sequence INTEGER PRIMARY KEY, job_id TEXT, kind TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX events_by_job ON events (job_id);
    CREATE TABLE staging (job_id TEXT PRIMARY KEY, request_id TEXT NOT NULL, digest TEXT NOT NULL DEFAULT '');
    CREATE TABLE requests (request_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, digest TEXT NOT NULL);
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    INSERT INTO counters VALUES ('sequence', 0);
    """,
)
"""Scripts that take a journal from each schema version to the next; the version is their count (`user_version`)."""

_EVENT_KINDS: dict[str, type[ev.DurableEvent]] = {kind.__name__: kind for kind in ev.DURABLE}
_SPEC_FIELDS = tuple(f.name for f in fields(ImageSpec))

Sequenced = tuple[int, ev.DurableEvent]
"""A durable event and its place in the history."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """What the journal knows of a job; `state` is None while it is live, and what follows holds only once it is not."""

    job_id: str
    submitter: str
    spec: JobSpec
    priority: int
    image_count: int
    create_time: float
    state: JobState | None
    reason: str
    succeeded_count: int
    failed_count: int
    start_time: float | None
    end_time: float | None
    next_attempt_number: int


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What the journal knows of an image; `result` is None while it is not settled, and its sequence 0."""

    index: int
    spec: ImageSpec
    result: ev.ImageCommitted | ev.ImageFailed | None
    sequence: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A submission that was accepted before: the job it made, and a digest of all that it said."""

    job_id: str
    digest: str


class _Connection:
    """One thread's connection to the file."""

    def __init__(self, path: Path) -> None:
        self.sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self.sql.execute("PRAGMA journal_mode = WAL")
        # FULL flushes the log before a transaction returns; on macOS fullfsync makes the drive write, too.
        self.sql.execute("PRAGMA synchronous = FULL")
        self.sql.execute("PRAGMA fullfsync = ON")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self.sql.execute("BEGIN IMMEDIATE")
        try:
            yield self.sql
        except BaseException:
            self.sql.execute("ROLLBACK")
            raise
        self.sql.execute("COMMIT")


class Journal:
    """Writes; used by one thread.

    Args:
        path: The file; made if it is not there.
        migrations: Scripts up to this software's version.

    Raises:
        JournalError: The file is no journal, or was written by a newer version of the farm.
    """

    def __init__(self, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
        try:
            self._connection = _Connection(path)
            _migrate(self._connection, path, migrations)
        except sqlite3.DatabaseError as error:
            raise JournalError(
                f"The journal {path} cannot be opened: {error}. If the disk is fine, the file is not a journal or is "
                "damaged: put it aside and restore a copy, or start with another state folder.",
                path=str(path),
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.sql.close()

    def append(self, events: Sequence[Sequenced]) -> None:
        """Writes events in one transaction, and returns when they are on disk."""
        if not events:
            return
        with self._connection.transaction() as sql:
            for sequence, event in events:
                _WRITERS.get(type(event), _write_event)(sql, sequence, event)
            sql.execute("UPDATE counters SET value = ? WHERE name = 'sequence'", (events[-1][0],))

    def stage(self, job_id: str, request_id: str) -> None:
        """Begins a submission that nobody sees yet."""
        with self._connection.transaction() as sql:
            sql.execute("INSERT INTO staging (job_id, request_id) VALUES (?, ?)", (job_id, request_id))

    def stage_entries(self, job_id: str, first_index: int, specs: Sequence[bytes]) -> None:
        """Adds entries, as `encode_spec` gives them, to a submission that is arriving."""
        rows = [(job_id, index, spec.decode()) for index, spec in enumerate(specs, first_index)]
        # Nothing is promised of them yet: the flush of the transaction that accepts the job covers these as well.
        self._connection.sql.execute("PRAGMA synchronous = NORMAL")
        try:
            with self._connection.transaction() as sql:
                sql.executemany("INSERT INTO entries (job_id, idx, spec) VALUES (?, ?, ?)", rows)
        finally:
            self._connection.sql.execute("PRAGMA synchronous = FULL")

    def seal(self, job_id: str, digest: str) -> None:
        """Notes the digest of a submission that has arrived whole; the event JobOpened makes it a job."""
        with self._connection.transaction() as sql:
            sql.execute("UPDATE staging SET digest = ? WHERE job_id = ?", (digest, job_id))

    def unstage(self, job_id: str) -> None:
        """Removes a submission that will not be accepted."""
        with self._connection.transaction() as sql:
            sql.execute("DELETE FROM entries WHERE job_id = ?", (job_id,))
            sql.execute("DELETE FROM staging WHERE job_id = ?", (job_id,))

    def unstage_all(self) -> None:
        """Removes what submissions that a crash interrupted have left."""
        for (job_id,) in self._connection.sql.execute("SELECT job_id FROM staging").fetchall():
            self.unstage(job_id)

    def delete_job(self, job_id: str) -> None:
        """Forgets a job that has ended."""
        with self._connection.transaction() as sql:
            for table in ("jobs", "entries", "results", "requests"):
                sql.execute(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))  # noqa: S608 - names from the line above


class JournalReader:
    """Reads what was committed; used by one thread, beside the one that writes."""

    def __init__(self, path: Path) -> None:
        self._sql = _Connection(path).sql

    def close(self) -> None:
        """Closes the file."""
        self._sql.close()

    def sequence(self) -> int:
        """Sequence of the newest event ever written."""
        return int(self._sql.execute("SELECT value FROM counters WHERE name = 'sequence'").fetchone()[0])

    def replay(self) -> Iterator[ev.DurableEvent]:
        """Yields, in their order, the events that make the live state."""
        rows = self._sql.execute(
            """
            SELECT sequence, kind, body FROM events
            UNION ALL
            SELECT results.sequence, 'ImageCommitted', body FROM jobs JOIN results USING (job_id)
                WHERE jobs.state IS NULL AND results.state = 'SUCCEEDED' AND results.sequence > live_since
            ORDER BY 1
            """
        )
        for _, kind, body in rows:
            yield msgspec.json.decode(body, type=_EVENT_KINDS[kind])

    def job(self, job_id: str) -> JobRow | None:
        """One job, live or not."""
        row = self._sql.execute(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE job_id = ?", (job_id,)).fetchone()  # noqa: S608
        return _job_row(row) if row else None

    def job_ids(self) -> set[str]:
        """Every job, live or not."""
        return {job_id for (job_id,) in self._sql.execute("SELECT job_id FROM jobs")}

    def live_job_ids(self) -> list[str]:
        """Jobs that have not ended."""
        return [job_id for (job_id,) in self._sql.execute("SELECT job_id FROM jobs WHERE state IS NULL")]

    def jobs(
        self, states: frozenset[JobState], submitter: str | None, before: tuple[float, str] | None, limit: int
    ) -> list[JobRow]:
        """Jobs, newest first: all live ones, and those that have ended in one of `states`.

        Args:
            states: Final states to include.
            submitter: Only this submitter's; None for all.
            before: Create time and id of a job; only older ones.
            limit: At most this many.
        """
        marks = ", ".join("?" * len(states))
        rows = self._sql.execute(
            f"""
            SELECT {_JOB_COLUMNS} FROM jobs
            WHERE (state IS NULL OR state IN ({marks})) AND (? IS NULL OR submitter = ?)
                AND (? IS NULL OR (create_time, job_id) < (?, ?))
            ORDER BY create_time DESC, job_id DESC LIMIT ?
            """,  # noqa: S608 - only question marks and column names are put in
            (
                *(state.value for state in states),
                submitter,
                submitter,
                before and before[0],
                *(before or (None, None)),
                limit,
            ),
        )
        return [_job_row(row) for row in rows]

    def entries(self, job_id: str, first_index: int, count: int) -> list[ImageSpec]:
        """What `count` images from `first_index` on are to be."""
        rows = self._sql.execute(
            "SELECT spec FROM entries WHERE job_id = ? AND idx >= ? AND idx < ? ORDER BY idx",
            (job_id, first_index, first_index + count),
        )
        return [decode_spec(spec) for (spec,) in rows]

    def images(
        self, job_id: str, settled: frozenset[ImageState], unsettled: bool, after_index: int, limit: int
    ) -> list[ImageRow]:
        """Images by index, after `after_index`: those settled in one of the states, and the others if `unsettled`."""
        marks = ", ".join("?" * len(settled))
        rows = self._sql.execute(
            f"""
            SELECT entries.idx, spec, state, body, sequence FROM entries LEFT JOIN results USING (job_id, idx)
            WHERE job_id = ? AND entries.idx > ? AND (state IN ({marks}) OR (? AND state IS NULL))
            ORDER BY entries.idx LIMIT ?
            """,  # noqa: S608 - only question marks are put in
            (job_id, after_index, *(state.value for state in settled), unsettled, limit),
        )
        return [_image_row(row) for row in rows]

    def settled_since(self, job_id: str, sequence: int, limit: int) -> list[ImageRow]:
        """Images that were settled after `sequence`, in the order in which they were."""
        rows = self._sql.execute(
            """
            SELECT results.idx, spec, state, body, sequence FROM results JOIN entries USING (job_id, idx)
            WHERE job_id = ? AND sequence > ? ORDER BY sequence LIMIT ?
            """,
            (job_id, sequence, limit),
        )
        return [_image_row(row) for row in rows]

    def committed(self, job_id: str) -> set[tuple[int, int]]:
        """Index and attempt number of each committed image of a job."""
        rows = self._sql.execute(
            "SELECT idx, json_extract(body, '$.number') FROM results WHERE job_id = ? AND state = 'SUCCEEDED'",
            (job_id,),
        )
        return set(rows)

    def request(self, request_id: str) -> RequestRow | None:
        """The submission that was accepted under this id."""
        row = self._sql.execute("SELECT job_id, digest FROM requests WHERE request_id = ?", (request_id,)).fetchone()
        return RequestRow(*row) if row else None


def encode_spec(spec: ImageSpec) -> bytes:
    """An image's spec as JSON, without the fields that are unset."""
    return msgspec.json.encode({name: value for name in _SPEC_FIELDS if (value := getattr(spec, name)) is not None})


def decode_spec(text: str) -> ImageSpec:
    """The inverse of `encode_spec`."""
    return msgspec.json.decode(text, type=ImageSpec)


def _migrate(connection: _Connection, path: Path, migrations: Sequence[str]) -> None:
    version = connection.sql.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise JournalError(
            f"The journal {path} is of version {version}, and this farm knows versions up to {len(migrations)}: it was "
            "written by a newer one. Install that one again, or start with another state folder.",
            path=str(path),
        )
    for number, script in enumerate(migrations[version:], version + 1):
        # One transaction each: a crash in the middle leaves the version before.
        connection.sql.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


_JOB_COLUMNS = (
    "job_id, submitter, spec, priority, image_count, create_time, state, reason, succeeded_count, failed_count, "
    "start_time, end_time, next_attempt_number"
)


def _job_row(row: tuple[object, ...]) -> JobRow:
    job_id, submitter, spec, priority, image_count, create_time, state, *rest = row
    return JobRow(
        job_id,  # type: ignore[arg-type]  # columns are typed by the schema
        submitter,  # type: ignore[arg-type]
        msgspec.json.decode(spec, type=JobSpec),  # type: ignore[call-overload]
        priority,  # type: ignore[arg-type]
        image_count,  # type: ignore[arg-type]
        create_time,  # type: ignore[arg-type]
        JobState(state) if state else None,
        *rest,  # type: ignore[arg-type]
    )


def _image_row(row: tuple[int, str, str | None, str, int]) -> ImageRow:
    index, spec, state, body, sequence = row
    kinds = {"SUCCEEDED": ev.ImageCommitted, "FAILED": ev.ImageFailed}
    result = msgspec.json.decode(body, type=kinds[state]) if state else None
    return ImageRow(index, decode_spec(spec), result, sequence or 0)


def _write_event(sql: sqlite3.Connection, sequence: int, event: ev.DurableEvent) -> None:
    sql.execute(
        "INSERT INTO events (sequence, job_id, kind, body) VALUES (?, ?, ?, ?)",
        (sequence, getattr(event, "job_id", None), type(event).__name__, msgspec.json.encode(event).decode()),
    )


def _write_opened(sql: sqlite3.Connection, sequence: int, event: ev.JobOpened) -> None:
    spec = msgspec.json.encode(event.spec).decode()
    sql.execute(
        """
        INSERT INTO jobs (job_id, submitter, spec, priority, image_count, create_time, live_since)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (job_id) DO UPDATE SET state = NULL, end_time = NULL, live_since = excluded.live_since
        """,
        (event.job_id, event.submitter, spec, event.priority, event.image_count, event.create_time, sequence),
    )
    sql.execute("DELETE FROM results WHERE job_id = ? AND state = 'FAILED'", (event.job_id,))
    sql.execute(
        """
        INSERT INTO requests (request_id, job_id, digest)
        SELECT request_id, job_id, digest FROM staging WHERE job_id = ? AND request_id <> ''
        """,
        (event.job_id,),
    )
    sql.execute("DELETE FROM staging WHERE job_id = ?", (event.job_id,))
    _write_event(sql, sequence, event)


def _write_ended(sql: sqlite3.Connection, sequence: int, event: ev.JobEnded) -> None:  # noqa: ARG001 - one signature for all
    sql.execute(
        """
        UPDATE jobs SET state = ?, reason = ?, succeeded_count = ?, failed_count = ?, start_time = ?, end_time = ?,
            next_attempt_number = ? WHERE job_id = ?
        """,
        (
            event.state.value,
            event.reason,
            event.succeeded_count,
            event.failed_count,
            event.start_time,
            event.time,
            event.next_attempt_number,
            event.job_id,
        ),
    )
    sql.execute("DELETE FROM events WHERE job_id = ?", (event.job_id,))


def _write_prioritized(sql: sqlite3.Connection, sequence: int, event: ev.JobPrioritized) -> None:
    sql.execute("UPDATE jobs SET priority = ? WHERE job_id = ?", (event.priority, event.job_id))
    _write_event(sql, sequence, event)


def _write_committed(sql: sqlite3.Connection, sequence: int, event: ev.ImageCommitted) -> None:
    sql.execute(
        "INSERT INTO results (job_id, idx, sequence, state, body) VALUES (?, ?, ?, 'SUCCEEDED', ?)",
        (event.job_id, event.index, sequence, msgspec.json.encode(event).decode()),
    )


def _write_failed(sql: sqlite3.Connection, sequence: int, event: ev.ImageFailed) -> None:
    if event.is_final:
        sql.execute(
            "INSERT INTO results (job_id, idx, sequence, state, body) VALUES (?, ?, ?, 'FAILED', ?)",
            (event.job_id, event.index, sequence, msgspec.json.encode(event).decode()),
        )
    _write_event(sql, sequence, event)


_WRITERS: dict[type, Callable[[sqlite3.Connection, int, Any], None]] = {
    ev.JobOpened: _write_opened,
    ev.JobEnded: _write_ended,
    ev.JobPrioritized: _write_prioritized,
    ev.ImageCommitted: _write_committed,
    ev.ImageFailed: _write_failed,
}
"""Events that are more than a row of `events`."""
