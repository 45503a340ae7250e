"""`farm submit --dry-run`: what a submission would take, or all that is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean
from typing import Any

import click
from google.protobuf.timestamp_pb2 import Timestamp
from rich.filesize import decimal

from farm.api.json_form import json_form
from farm.api.requests import MAX_ENTRIES, image_spec_message
from farm.api.status import MAX_VIOLATIONS
from farm.batch import Row
from farm.cli.entries import PLACE, Batch, Source
from farm.cli.output import print_json
from farm.cli.progress import describe_end_time
from farm.client import Client
from farm.domain import JobState
from farm.errors import BatchFileError, InvalidRequestError
from farm.v1 import job_pb2

MAX_REFUSALS = 1000
"""Mistakes that are listed at most: nobody mends more of them one by one."""

RECENT_JOBS = 20
"""Jobs that are looked through for images of the same model and size."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with a row; `column` is empty where it is the row as a whole."""

    line: int
    column: str
    problem: str


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes that images are thought to take: as those of `job` do, or at most, if that is empty."""

    total: int
    job: str


def show_preview(client: Client, source: Source, arguments: Mapping[str, Any], *, as_json: bool) -> bool:
    """Prints what would come of a submission, and says whether it would be accepted.

    Args:
        client: The farm.
        source: The entries.
        arguments: Of `Client.submit`, for the rest.
        as_json: Whether a program reads it.

    Raises:
        FarmError: What is wrong is not in the rows.
    """
    job = _checked(client, source, arguments)
    if job is not None:
        size = _size(client, job)
        (_print_job_json if as_json else _print_job)(job, size)
        return True
    refusals = list(islice(find_refusals(client, source, arguments), MAX_REFUSALS))
    if as_json:
        print_json({"refused": [asdict(refusal) for refusal in refusals]})
    else:
        least = "At least " if len(refusals) == MAX_REFUSALS else ""
        mistakes = "1 mistake" if len(refusals) == 1 else f"{least}{len(refusals)} mistakes"
        click.echo(f"{mistakes} in {source.name}; nothing of it would be submitted:")
        for refusal in refusals:
            column = f", column {refusal.column}" if refusal.column else ""
            click.echo(f"  line {refusal.line}{column}: {refusal.problem}")
    return False


def _checked(client: Client, source: Source, arguments: Mapping[str, Any]) -> job_pb2.Job | None:
    """The job that would be made; None if a row is wrong."""
    try:
        return client.submit(Batch(source), validate_only=True, **arguments).message
    except BatchFileError as error:
        if "line" not in error.metadata:
            raise
    except InvalidRequestError as error:
        if not any(map(PLACE.fullmatch, error.violations)):
            raise
    return None


def find_refusals(client: Client, source: Source, arguments: Mapping[str, Any]) -> Iterator[Refusal]:
    """Every mistake in the rows, those that are seen here and those that the farm sees."""
    arguments = {name: value for name, value in arguments.items() if name != "request_id"}  # each run is another one
    found: list[Refusal] = []

    def complain(error: BatchFileError) -> None:
        place = error.metadata
        found.append(Refusal(int(place["line"]), place["column"], place["problem"]))

    rows = source.rows(complain)
    while run := list(islice(rows, MAX_ENTRIES)):
        found += _refused(client, [row for row in run if _fits(row, found)], arguments)
        yield from sorted(found, key=lambda refusal: refusal.line)
        found.clear()
    yield from found


def _fits(row: Row, found: list[Refusal]) -> bool:
    """Whether a row can be sent at all; notes in `found` why not."""
    try:
        image_spec_message(row.spec, "entries[0]")
    except InvalidRequestError as error:
        found += [Refusal(row.line, field.rpartition(".")[2], text) for field, text in error.violations.items()]
        return False
    return True


def _refused(client: Client, rows: Sequence[Row], arguments: Mapping[str, Any]) -> Iterator[Refusal]:
    """What the farm refuses of a run of rows. It names a few mistakes a call, so a run with more is sent in halves."""
    if not rows:
        return
    try:
        client.submit([row.spec for row in rows], validate_only=True, **arguments)
    except InvalidRequestError as error:
        if len(error.violations) >= MAX_VIOLATIONS and len(rows) > 1:
            middle = len(rows) // 2
            yield from _refused(client, rows[:middle], arguments)
            yield from _refused(client, rows[middle:], arguments)
            return
        for field, problem in error.violations.items():
            place = PLACE.fullmatch(field)
            if place is None:
                raise
            yield Refusal(rows[int(place[1])].line, place[2] or "", problem)


def _size(client: Client, job: job_pb2.Job) -> Size:
    """From a recent job with the same model and size; without one, the pixels' own size, which PNG stays below."""
    wanted = (job.spec.model, job.spec.defaults.width, job.spec.defaults.height)
    for earlier in islice(client.jobs([JobState.SUCCEEDED]), RECENT_JOBS):
        spec = earlier.message.spec
        if (spec.model, spec.defaults.width, spec.defaults.height) == wanted:
            sizes = [image.size_bytes for image in next(earlier.list_images(), ()) if image.sha256]
            if sizes:
                return Size(round(fmean(sizes) * job.image_count), earlier.name)
    return Size(3 * job.spec.defaults.width * job.spec.defaults.height * job.image_count, "")


def _seconds(job: job_pb2.Job, end: Timestamp) -> float:
    return (end.ToNanoseconds() - job.create_time.ToNanoseconds()) / 1e9


def _print_job(job: job_pb2.Job, size: Size) -> None:
    defaults = job.spec.defaults
    click.echo("Nothing was submitted. The farm would accept it:")
    click.echo(f"  images  {job.image_count:,} with {job.spec.model.removeprefix('models/')}, ", nl=False)
    click.echo(f"{defaults.width}x{defaults.height}")
    if job.HasField("eta"):
        remaining = describe_end_time(job.eta, since=job.create_time.ToNanoseconds() / 1e9)
        click.echo(f"  time    about {remaining}, unless other jobs come")
    else:
        why = job.reason or "no worker that is here has rendered with this model"
        click.echo(f"  time    unknown yet: {why}")
    basis = (
        f"about {decimal(size.total)}, by the images of {size.job}" if size.job else f"at most {decimal(size.total)}"
    )
    click.echo(f"  disk    {basis}")


def _print_job_json(job: job_pb2.Job, size: Size) -> None:
    ends = {"earliest": job.eta.earliest, "likely": job.eta.likely, "latest": job.eta.latest}
    seconds = {name: _seconds(job, end) for name, end in ends.items()} if job.HasField("eta") else None
    print_json(
        {
            "image_count": job.image_count,
            "estimated_seconds": seconds,
            "estimated_bytes": size.total,
            "estimated_bytes_from": size.job or None,
            "spec": json_form(job.spec),
            "refused": [],
        }
    )
