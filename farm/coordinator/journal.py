"""Writes the journal: what the farm promised to remember. The methods block, and are called on one thread."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from farm.coordinator.journal_file import MIGRATIONS, Connection, migrate
from farm.coordinator.reserve import Reserve
from farm.errors import DiskFullError, JournalError
from farm.scheduler import events as ev

Sequenced = tuple[int, ev.DurableEvent]
"""A durable event and its place in the history."""


class Journal:
    """Writes; used by one thread.

    Args:
        path: The file; made if it is not there.
        migrations: Scripts up to this software's version.

    Attributes:
        reserve: Room beside the file, given up rather than not to write what happened.

    Raises:
        JournalError: The file is no journal, or was written by a newer version of the farm.
    """

    def __init__(self, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.reserve = Reserve(path.with_suffix(".reserve"))
        try:
            self._connection = Connection(path)
            migrate(self._connection, path, migrations)
        except sqlite3.DatabaseError as error:
            raise JournalError(
                f"The journal {path} cannot be opened: {error}. If the disk is fine, the file is not a journal or is "
                "damaged: move it away and restore a copy, or start with another state folder.",
                path=str(path),
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.sql.close()

    def append(self, events: Sequence[Sequenced]) -> None:
        """Writes events in one transaction, and returns when they are on disk.

        Raises:
            DiskFullError: There is no room; nothing was written, and the same call may be made again.
        """
        try:
            self._append(events)
        except DiskFullError:
            if not self.reserve.release():
                raise
            self._append(events)

    def _append(self, events: Sequence[Sequenced]) -> None:
        with self._connection.transaction() as sql:
            for sequence, event in events:
                _WRITERS.get(type(event), _write_event)(sql, sequence, event)
            sql.execute("UPDATE counters SET value = ? WHERE name = 'sequence'", (events[-1][0],))

    def keep(self, name: str, body: bytes) -> None:
        """Writes something under a name, in place of what was there."""
        with self._connection.transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO kept (name, body) VALUES (?, ?)", (name, body))

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
            for table in ("jobs", "entries", "results", "requests", "webhooks"):
                sql.execute(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))  # noqa: S608 - names from the line above

    def settle_webhook(self, job_id: str, end_time: float) -> None:
        """Notes that nobody need be told any more that the job ended at that time; a later end is told anew."""
        with self._connection.transaction() as sql:
            sql.execute(
                "DELETE FROM webhooks WHERE job_id = (SELECT job_id FROM jobs WHERE job_id = ? AND end_time = ?)",
                (job_id, end_time),
            )


def _write_event(sql: sqlite3.Connection, sequence: int, event: ev.DurableEvent) -> None:
    sql.execute(
        "INSERT INTO events (sequence, job_id, kind, body) VALUES (?, ?, ?, ?)",
        (sequence, getattr(event, "job_id", None), type(event).__name__, msgspec.json.encode(event).decode()),
    )


def _write_opened(sql: sqlite3.Connection, sequence: int, event: ev.JobOpened) -> None:
    spec = msgspec.json.encode(event.spec).decode()
    sql.execute(
        """
        INSERT INTO jobs (job_id, submitter, spec, priority, image_count, create_time, evaluations, live_since)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (job_id) DO UPDATE SET state = NULL, end_time = NULL, live_since = excluded.live_since
        """,
        (
            event.job_id,
            event.submitter,
            spec,
            event.priority,
            event.image_count,
            event.create_time,
            event.evaluations,
            sequence,
        ),
    )
    # What is to be rendered again has no result any more.
    runs = [(event.job_id, start, stop) for start, stop in event.pending]
    sql.executemany("DELETE FROM results WHERE job_id = ? AND idx >= ? AND idx < ?", runs)
    sql.execute(
        """
        INSERT INTO requests (request_id, job_id, digest)
        SELECT request_id, job_id, digest FROM staging WHERE job_id = ? AND request_id <> ''
        """,
        (event.job_id,),
    )
    sql.execute("DELETE FROM staging WHERE job_id = ?", (event.job_id,))
    if event.spec.webhook:
        sql.execute("INSERT OR IGNORE INTO webhooks (job_id) VALUES (?)", (event.job_id,))
    _write_event(sql, sequence, event)


def _write_ended(sql: sqlite3.Connection, sequence: int, event: ev.JobEnded) -> None:  # noqa: ARG001 - one signature for all
    sql.execute(
        """
        UPDATE jobs SET state = ?, reason = ?, succeeded_count = ?, failed_count = ?, start_time = ?, end_time = ?,
            next_attempt_number = ?, losses = ? WHERE job_id = ?
        """,
        (
            event.state.value,
            event.reason,
            event.succeeded_count,
            event.failed_count,
            event.start_time,
            event.time,
            event.next_attempt_number,
            msgspec.json.encode(event.losses).decode(),
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
