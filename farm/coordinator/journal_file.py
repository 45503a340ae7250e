"""The journal's file: its tables through all versions, and how it is opened.

`jobs` has a row a job, with its summary once it has ended; `entries` what each image of it is to be; `results` what
became of each settled image; `events` all other durable events of jobs that are live. When a job ends its events are
folded into its row, so a restart costs by what is live and not by what ever was. `staging` names submissions that are
still arriving: their entries are there already, and nobody sees them. `kept` holds what is worth keeping over a restart
and not promised; `webhooks` names the jobs whose end is yet to be told to somebody.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import msgspec

from farm.domain import ImageSpec
from farm.errors import DiskFullError, JournalError

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
    """
    ALTER TABLE jobs ADD COLUMN losses TEXT NOT NULL DEFAULT '[]';
    """,
    """
    CREATE TABLE kept (name TEXT PRIMARY KEY, body BLOB NOT NULL);
    """,
    """
    CREATE INDEX commits_in_order ON results (sequence) WHERE state = 'SUCCEEDED';
    """,
    """
    CREATE TABLE webhooks (job_id TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    """
    ALTER TABLE jobs ADD COLUMN evaluations INTEGER NOT NULL DEFAULT 0;
    UPDATE jobs SET evaluations = coalesce((
        SELECT json_extract(body, '$.evaluations') FROM events WHERE kind = 'JobOpened' AND events.job_id = jobs.job_id
    ), 0);
    """,
)
"""Scripts that take a journal from each schema version to the next; the version is their count (`user_version`)."""

_SPEC_FIELDS = tuple(f.name for f in fields(ImageSpec))


class Connection:
    """One thread's connection to the file, set so that a transaction that has returned survives a power cut."""

    def __init__(self, path: Path) -> None:
        self.sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self.sql.execute("PRAGMA journal_mode = WAL")
        # FULL flushes the log before a transaction returns; on macOS fullfsync makes the drive write, too.
        self.sql.execute("PRAGMA synchronous = FULL")
        self.sql.execute("PRAGMA fullfsync = ON")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block, flushed to the disk when it ends; or, if it raises, nothing.

        Raises:
            DiskFullError: There is no room; nothing was written.
        """
        try:
            self.sql.execute("BEGIN IMMEDIATE")
            yield self.sql
            self.sql.execute("COMMIT")
        except BaseException as error:
            if self.sql.in_transaction:
                self.sql.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise DiskFullError(
                    "There is no room on the disk for the journal. Make some, then try again."
                ) from error
            raise


def migrate(connection: Connection, path: Path, migrations: Sequence[str]) -> None:
    """Brings a file to the newest schema version.

    Raises:
        JournalError: It is of a newer one.
    """
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


def encode_spec(spec: ImageSpec) -> bytes:
    """An image's spec as JSON, without the fields that are unset."""
    return msgspec.json.encode({name: value for name in _SPEC_FIELDS if (value := getattr(spec, name)) is not None})


def decode_spec(text: str) -> ImageSpec:
    """The inverse of `encode_spec`."""
    return msgspec.json.decode(text, type=ImageSpec)
