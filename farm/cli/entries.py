"""The entries that `farm submit` sends: from options, a file or standard input, expanded and laid out as asked for."""

import re
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from farm.batch import READERS, Complain, Row, open_batch, read_stream, reader_for, refuse
from farm.batch.grid import Axis, vary
from farm.batch.templates import expand
from farm.domain import ImageSpec
from farm.errors import BatchFileError, InvalidRequestError

STDIN = "-"

MAX_STDIN_BYTES = 1 << 30
"""Of standard input: some million prompts. What is copied must end."""

_BLOCK_BYTES = 1 << 20

PLACE = re.compile(r"entries\[(\d+)\](?:\.(\w+))?")
"""How the farm names a wrong field of an entry."""

_SETTING = re.compile(r"\bspec\.(?:defaults\.|pin\.)?([a-z_]+)")
"""How the farm names a wrong field that an option of `farm submit` filled in."""

_OPTIONS = {"display_name": "--name", "labels": "--label", "worker_labels": "--worker-label"}
"""Options that are not called as their field."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from, as often as they are wanted.

    Attributes:
        name: What messages call it.
        line_count: Lines that it has, or one more.
        rows: Reads the rows, and tells of those that are wrong.
    """

    name: str
    line_count: int
    rows: Callable[[Complain], Iterator[Row]]


def prompts_source(prompts: Sequence[str]) -> Source:
    """Prompts that were given as options."""
    rows = [Row(number, ImageSpec(prompt=prompt)) for number, prompt in enumerate(prompts, 1)]
    return Source("the prompts", len(rows), lambda _: iter(rows))


def file_source(file: str, ending: str, context: click.Context) -> Source:
    """A batch file, or standard input, which is copied so that it can be read more than once.

    Args:
        file: Path of the file; "-" for standard input.
        ending: How to read standard input.
        context: The copy lives as long as this.

    Raises:
        BatchFileError: The file cannot be read, or standard input not copied.
    """
    if file == STDIN:
        path, name, reader = _copy_of_stdin(context), "standard input", READERS[ending]
    else:
        path, name, reader = Path(file), file, reader_for(Path(file))

    def rows(complain: Complain) -> Iterator[Row]:
        with open_batch(path) as stream:
            yield from read_stream(stream, reader, name, complain)

    with open_batch(path) as stream:
        line_count = sum(block.count(b"\n") for block in iter(lambda: stream.read(_BLOCK_BYTES), b""))
    return Source(name, line_count + 1, rows)


def _copy_of_stdin(context: click.Context) -> Path:
    copy = context.with_resource(tempfile.NamedTemporaryFile(prefix="farm-batch-"))  # noqa: SIM115
    size = 0
    try:
        while block := sys.stdin.buffer.read(_BLOCK_BYTES):
            size += len(block)
            if size > MAX_STDIN_BYTES:
                raise BatchFileError(
                    f"Standard input has more than {MAX_STDIN_BYTES:,} bytes; perhaps it never ends. Nothing was "
                    "submitted. A batch of that size can be submitted from a file."
                )
            copy.write(block)
        copy.flush()
    except OSError as error:
        raise BatchFileError(
            f"Standard input cannot be copied to {copy.name} ({error.strerror}). Nothing was submitted. Make room "
            "there, or write it to a file of your own and submit that."
        ) from error
    return Path(copy.name)


def expanded(source: Source, wildcards: Path | None, draws: int | None, seed: int) -> Source:
    """The source with its prompts taken for templates; `farm.batch.templates` says how."""
    return Source(
        source.name,
        source.line_count,
        lambda complain: expand(source.rows(complain), source.name, wildcards, draws, seed),
    )


def varied(source: Source, axes: Sequence[Axis], first_seed: int) -> Source:
    """The source with each row once for each combination of the axes."""
    return Source(source.name, source.line_count, lambda complain: vary(source.rows(complain), axes, first_seed))


@contextmanager
def fields_as_options() -> Iterator[None]:
    """Has the farm's refusals name the options of `farm submit` rather than fields of the API.

    Raises:
        InvalidRequestError: As the block does, in those words.
    """

    def option(match: re.Match[str]) -> str:
        return _OPTIONS.get(match[1]) or "--" + match[1].replace("_", "-")

    try:
        yield
    except InvalidRequestError as error:
        violations = {_SETTING.sub(option, field): problem for field, problem in error.violations.items()}
        raise InvalidRequestError(_SETTING.sub(option, error.message), violations, **error.metadata) from None


class Batch:
    """The entries of a submission, which remember their lines (8 bytes each) in case the farm refuses one.

    Args:
        source: Where they come from.
        complain: Is told of rows that are wrong; without it, the first one ends the reading.
    """

    def __init__(self, source: Source, complain: Complain = refuse) -> None:
        self._source = source
        self._complain = complain
        self._lines = array("Q")
        self.on_thousand: Callable[[int, int], object] = lambda _count, _line: None
        """Told how many entries were read, and the line of the last, after each thousand."""

    def __iter__(self) -> Iterator[ImageSpec]:
        # Lines of this reading only: an earlier one, which was cut off, may still be under way on another thread.
        lines = self._lines = array("Q")
        for count, row in enumerate(self._source.rows(self._complain)):
            if count % 1000 == 0:
                self.on_thousand(count, row.line)
            lines.append(row.line)
            yield row.spec

    def located(self, error: InvalidRequestError) -> InvalidRequestError:
        """The farm's refusal with lines and columns of the source in place of entries' indices."""

        def place(match: re.Match[str]) -> str:
            line = self._lines[int(match[1])]
            return f"{self._source.name}, line {line}" + (f", column {match[2]}:" if match[2] else ":")

        violations = {PLACE.sub(place, field): problem for field, problem in error.violations.items()}
        return InvalidRequestError(PLACE.sub(place, error.message), violations, **error.metadata)
