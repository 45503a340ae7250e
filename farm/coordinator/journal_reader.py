"""Reads the journal, on a thread of its own beside the one that writes."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from farm.coordinator.journal_file import Connection, decode_spec
from farm.coordinator.views import ImageFilter
from farm.domain import ImageSpec, ImageState, JobSpec, JobState
from farm.scheduler import events as ev
from farm.scheduler.trouble import Loss

_EVENT_KINDS: dict[str, type[ev.DurableEvent]] = {kind.__name__: kind for kind in ev.DURABLE}


@dataclass(frozen=True, slots=True)
class JobRow:
    """What the journal knows of a job; `state` is None while it is live, and what follows holds only once it is not."""

    job_id: str
    submitter: str
    spec: JobSpec
    priority: int
    image_count: int
    create_time: float
    evaluations: int
    state: JobState | None
    reason: str
    succeeded_count: int
    failed_count: int
    start_time: float | None
    end_time: float | None
    next_attempt_number: int
    losses: tuple[Loss, ...]


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


class JournalReader:
    """Reads what was committed; used by one thread, beside the one that writes."""

    def __init__(self, path: Path) -> None:
        self._sql = Connection(path).sql

    def close(self) -> None:
        """Closes the file."""
        self._sql.close()

    def sequence(self) -> int:
        """Sequence of the newest event ever written."""
        return int(self._sql.execute("SELECT value FROM counters WHERE name = 'sequence'").fetchone()[0])

    def kept(self, name: str) -> bytes | None:
        """What is kept under a name."""
        row = self._sql.execute("SELECT body FROM kept WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

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

    def last_ended(self, seconds: float) -> list[tuple[str, float]]:
        """Jobs that ended at most so long before the one that ended last, and when (seconds since the epoch)."""
        query = "SELECT job_id, end_time FROM jobs WHERE end_time >= (SELECT MAX(end_time) FROM jobs) - ?"
        return self._sql.execute(query, (seconds,)).fetchall()

    def committed(self, job_id: str, indices: range = range(2**31)) -> dict[int, tuple[int, str]]:
        """Attempt number and SHA-256 of each committed image of a job, or of those among `indices`, by index."""
        rows = self._sql.execute(
            """
            SELECT idx, json_extract(body, '$.number'), json_extract(body, '$.sha256') FROM results
            WHERE job_id = ? AND state = 'SUCCEEDED' AND idx >= ? AND idx < ?
            """,
            (job_id, indices.start, indices.stop),
        )
        return {index: (number, sha256) for index, number, sha256 in rows}

    def commits(self, wanted: ImageFilter, after: int) -> "array[int]":
        """Sequences of the commits that a filter lets through and that came after sequence `after`, in their order."""
        conditions = {
            "jobs.submitter = ?": wanted.submitter,
            "results.job_id = ?": wanted.job_id,
            "json_extract(body, '$.worker_id') = ?": wanted.worker_id,
            "json_extract(body, '$.provenance.model') = ?": wanted.model,
            "json_extract(body, '$.provenance.chip_class') = ?": wanted.chip_class and wanted.chip_class.value,
            _PROMPT_HOLDS: wanted.text and wanted.text.lower(),
        }
        chosen = {condition: value for condition, value in conditions.items() if value is not None}
        tables = "results"
        tables += " JOIN jobs USING (job_id)" if wanted.submitter is not None or wanted.text is not None else ""
        tables += " JOIN entries USING (job_id, idx)" if wanted.text is not None else ""
        where = " AND ".join(("results.state = 'SUCCEEDED'", "sequence > ?", *chosen))
        rows = self._sql.execute(
            f"SELECT sequence FROM {tables} WHERE {where} ORDER BY sequence",  # noqa: S608 - no value is put in
            (after, *chosen.values()),
        )
        return array("q", (sequence for (sequence,) in rows))

    def committed_at(self, sequences: Sequence[int]) -> list[tuple[str, ImageRow]]:
        """The images that were committed by these events, each with its job; what was deleted since is left out."""
        marks = ", ".join("?" * len(sequences))
        rows = self._sql.execute(
            f"""
            SELECT job_id, results.idx, spec, state, body, sequence FROM results JOIN entries USING (job_id, idx)
            WHERE state = 'SUCCEEDED' AND sequence IN ({marks})
            """,  # noqa: S608 - only question marks are put in
            tuple(sequences),
        )
        return [(job_id, _image_row(row)) for job_id, *row in rows]

    def last_commits(self, limit: int) -> list[ev.ImageCommitted]:
        """The newest commits, the oldest of them first."""
        rows = self._sql.execute(
            "SELECT body FROM results WHERE state = 'SUCCEEDED' ORDER BY sequence DESC LIMIT ?", (limit,)
        )
        return [msgspec.json.decode(body, type=ev.ImageCommitted) for (body,) in rows][::-1]

    def pending_webhooks(self) -> list[str]:
        """Jobs that have ended, and whose end is yet to be told."""
        rows = self._sql.execute("SELECT job_id FROM webhooks JOIN jobs USING (job_id) WHERE state IS NOT NULL")
        return [job_id for (job_id,) in rows]

    def request(self, request_id: str) -> RequestRow | None:
        """The submission that was accepted under this id."""
        row = self._sql.execute("SELECT job_id, digest FROM requests WHERE request_id = ?", (request_id,)).fetchone()
        return RequestRow(*row) if row else None


_JOB_COLUMNS = (
    "job_id, submitter, spec, priority, image_count, create_time, evaluations, state, reason, succeeded_count, "
    "failed_count, start_time, end_time, next_attempt_number, losses"
)


_PROMPT_HOLDS = (
    "instr(lower(coalesce(json_extract(entries.spec, '$.prompt'), json_extract(jobs.spec, '$.defaults.prompt'))), ?)"
)


def _job_row(row: Sequence[Any]) -> JobRow:
    job_id, submitter, spec, priority, image_count, create_time, evaluations, state, *rest, losses = row
    return JobRow(
        job_id,
        submitter,
        msgspec.json.decode(spec, type=JobSpec),
        priority,
        image_count,
        create_time,
        evaluations,
        JobState(state) if state else None,
        *(*rest, msgspec.json.decode(losses, type=tuple[Loss, ...])),
    )


def _image_row(row: Sequence[Any]) -> ImageRow:
    index, spec, state, body, sequence = row
    kinds = {"SUCCEEDED": ev.ImageCommitted, "FAILED": ev.ImageFailed}
    result = msgspec.json.decode(body, type=kinds[state]) if state else None
    return ImageRow(index, decode_spec(spec), result, sequence or 0)
