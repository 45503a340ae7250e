"""What was submitted, and what the journal says became of it."""

import contextlib
import csv
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]
"""What one image should be, by the names of the batch file's columns; what is left open is not there."""

NUMBERS = {"seed": int, "width": int, "height": int, "steps": int, "guidance_scale": float, "strength": float}


class NoJournalError(Exception):
    """The journal cannot be read, or knows no such job."""


def read_submitted(path: Path) -> list[Entry]:
    """The entries of a batch file (txt, csv, jsonl), in order."""
    text = path.read_text("utf-8-sig")
    if path.suffix == ".txt":
        return [{"prompt": line.strip()} for line in text.split("\n") if line.strip()]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = max(",;\t", key=text.strip().split("\n")[0].count)
            rows = [
                {k.strip(): v.strip() for k, v in row.items() if v} for row in csv.DictReader(file, delimiter=delimiter)
            ]
        return [{k: NUMBERS.get(k, str)(v) for k, v in row.items() if v} for row in rows if any(row.values())]
    entries = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [{k: v for k, v in entry.items() if v is not None} for entry in entries]


@dataclass(frozen=True, slots=True)
class Journal:
    """All that the journal holds of a job.

    Attributes:
        job: The row of `jobs`.
        spec: What was submitted for all images together.
        entries: What was submitted for each, by index.
        results: State and details of each image that is settled, in the order of the table.
    """

    job: Mapping[str, Any]
    spec: Mapping[str, Any]
    entries: Mapping[int, Entry]
    results: tuple[tuple[int, str, Mapping[str, Any]], ...]


def read_journal(path: Path, job_id: str) -> Journal:
    """Reads what a journal says of a job.

    Raises:
        NoJournalError: It cannot be read, or there is no such job.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=90)) as sql:
            sql.row_factory = sqlite3.Row
            (verdict,) = sql.execute("PRAGMA integrity_check").fetchone()
            if verdict != "ok":
                raise NoJournalError(f"the file is damaged: {verdict}")
            job = sql.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
            if job is None:
                raise NoJournalError(f"there is no job {job_id}")
            entries = sql.execute("SELECT idx, spec FROM entries WHERE job_id = ?", (job_id,)).fetchall()
            results = sql.execute("SELECT idx, state, body FROM results WHERE job_id = ?", (job_id,)).fetchall()
    except sqlite3.Error as error:
        raise NoJournalError(str(error)) from error
    return Journal(
        job=dict(job),
        spec=json.loads(job["spec"]),
        entries={row["idx"]: json.loads(row["spec"]) for row in entries},
        results=tuple((row["idx"], row["state"], json.loads(row["body"])) for row in results),
    )
