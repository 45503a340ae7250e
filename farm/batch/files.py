"""Reads batch files row by row: a prompt a line (txt), or columns named after `ImageSpec`'s fields (csv, jsonl).

A reader holds one row at a time, so the length of a file does not matter. What makes no sense as text or as a type is
refused here, named by line and column; what a model cannot do is refused by the farm, named by entry.
"""

import codecs
import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from farm.domain import INIT_IMAGE_SIGNATURES, MAX_INIT_IMAGE_BYTES, ImageSpec
from farm.errors import BatchFileError

Kind = type[str] | type[int] | type[float]

COLUMNS: Mapping[str, Kind] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "width": int,
    "height": int,
    "steps": int,
    "guidance_scale": float,
    "sampler": str,
    "strength": float,
    "init_image": str,
}
"""Columns by their type. For `init_image` stands the path of a file, from the batch file's folder on."""

MAX_LINE_BYTES = 1_000_000

_KINDS = {str: "text", int: "a whole number", float: "a number"}
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a batch file, and the line where it stands (from 1)."""

    line: int
    spec: ImageSpec


Complain = Callable[[BatchFileError], object]
"""Is told of a row that is wrong: raises the error to end the reading, or keeps it to go on without the row."""


def refuse(error: BatchFileError) -> None:
    """Ends the reading at the first row that is wrong."""
    raise error


def read_batch(path: Path, complain: Complain = refuse) -> Iterator[Row]:
    """Reads a file whose name ends in .txt, .csv, .jsonl or .ndjson.

    Raises:
        BatchFileError: The file cannot be read, or a row of it is wrong.
    """
    reader = reader_for(path)
    with open_batch(path) as file:
        yield from read_stream(file, reader, str(path), complain)


def reader_for(path: Path) -> "Reader":
    """How to read a file, by the ending of its name.

    Raises:
        BatchFileError: There is no reader for it.
    """
    reader = READERS.get(path.suffix.lower().removeprefix("."))
    if reader is None:
        raise BatchFileError(f"{path} is not named like a batch file; use one that ends in .{', .'.join(READERS)}.")
    return reader


@contextmanager
def open_batch(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for `read_stream`.

    Raises:
        BatchFileError: It cannot be opened, or reading it within the block fails.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise BatchFileError(f"{path} cannot be read: {error.strerror}.") from error


def read_stream(file: BinaryIO, reader: "Reader", name: str, complain: Complain = refuse) -> Iterator[Row]:
    """Reads an open binary stream.

    Args:
        file: The stream.
        reader: One of `READERS`.
        name: What messages call it.
        complain: Is told of each row that is wrong.

    Raises:
        BatchFileError: The stream holds no row, or is not of its form at all, or a row of it is wrong.
    """
    is_empty = True

    def note(error: BatchFileError) -> None:
        nonlocal is_empty
        is_empty = False
        complain(error)

    for row in reader(_lines(file, name, note), name, note):
        is_empty = False
        yield row
    if is_empty:
        raise BatchFileError(f"{name} holds no prompts.", file=name)


def _lines(file: BinaryIO, name: str, complain: Complain) -> Iterator[str]:
    """The lines of a text in UTF-8, with or without a byte order mark; one that is no text counts as empty."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(raw) == MAX_LINE_BYTES:
            raise wrong(name, number, 1, f"the line has more than {MAX_LINE_BYTES} bytes, so this is not a batch file")
        if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise wrong(name, 1, 1, "this is UTF-16; save the file as UTF-8")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"the byte 0x{raw[error.start]:02X} is not UTF-8; save the file as UTF-8"
            complain(wrong(name, number, error.start + 1, problem))
            line = ""
        if "\0" in line:
            complain(wrong(name, number, line.index("\0") + 1, "there is a zero byte: this is not a text file"))
            line = ""
        yield line


def read_txt(lines: Iterator[str], name: str, complain: Complain) -> Iterator[Row]:  # noqa: ARG001 - as all readers
    """A prompt a line; empty lines are skipped."""
    for number, line in enumerate(lines, 1):
        prompt = line.strip()
        if "\r" in prompt:
            problem = "a line ends with a carriage return alone, as on old Macs; save the file with Unix line ends"
            raise wrong(name, number, prompt.index("\r") + 1, problem)
        if prompt:
            yield Row(number, ImageSpec(prompt=prompt))


def read_csv(lines: Iterator[str], name: str, complain: Complain) -> Iterator[Row]:
    """Columns by the names in the first line that is not empty, separated by commas, semicolons or tabs.

    Empty cells leave their field open.
    """
    offset, header = next(((number, line) for number, line in enumerate(lines, 1) if line.strip()), (1, ""))
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error as error:
        raise wrong(name, offset, 1, f"the header cannot be read ({error})") from None
    for position, column in enumerate(columns, 1):
        if column not in COLUMNS or columns.index(column) != position - 1:
            problem = "occurs twice" if column in COLUMNS else f"is not one of {', '.join(COLUMNS)}"
            raise wrong(name, offset, position, f'the column "{column[:50]}" {problem}')
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = offset + rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            complain(wrong(name, start, 1, f"the row cannot be read ({error})"))
            continue
        if cells is None:
            return
        if len(cells) > len(columns):
            problem = "there are more cells than columns; put text with commas in quotes"
            complain(wrong(name, start, len(columns) + 1, problem))
            continue
        texts = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
        fields = _checked(texts, _from_text, name, start, complain)
        if fields:
            yield Row(start, ImageSpec(**fields))


def read_jsonl(lines: Iterator[str], name: str, complain: Complain) -> Iterator[Row]:
    """A JSON object a line; empty lines are skipped, and fields that are null are left open."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.rstrip(), object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            complain(wrong(name, number, error.colno, f"this is not JSON ({error.msg})"))
            continue
        except _DuplicateError as error:
            complain(wrong(name, number, str(error), "the field occurs twice"))
            continue
        except (RecursionError, ValueError) as error:  # nested without end; a number of thousands of digits
            complain(wrong(name, number, 1, f"this is not an entry ({error})"))
            continue
        if not isinstance(entry, dict):
            complain(wrong(name, number, 1, 'this is not a JSON object; write {"prompt": "..."}'))
            continue
        fields = _checked(entry, _from_json, name, number, complain)
        if fields is not None:
            yield Row(number, ImageSpec(**fields))


class _DuplicateError(ValueError):
    """A JSON object has a key twice; of the two, Python's reader would take the last."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateError(next(key for key in keys if keys.count(key) > 1)[:50])
    return made


def _checked(
    values: Mapping[str, Any], convert: Callable[[Any, Kind], Any], name: str, line: int, complain: Complain
) -> dict[str, Any] | None:
    """The values of a row as `ImageSpec` wants them; None if some are wrong, all of which are complained about."""
    fields: dict[str, Any] = {}
    for column, value in values.items():
        kind = COLUMNS.get(column)
        if kind is None:
            complain(wrong(name, line, column[:50], f"there is no such field; there are {', '.join(COLUMNS)}"))
            continue
        try:
            fields[column] = convert(value, kind)
            if column == "init_image" and value is not None:
                # A file's name is its path, so this is its folder; of standard input, it is the current one.
                fields[column] = read_picture(Path(name).parent / fields[column])
        except BatchFileError as error:
            complain(wrong(name, line, column, error.message))
        except ValueError:
            complain(wrong(name, line, column, f"{json.dumps(value)[:50]} is not {_KINDS[kind]}"))
    return fields if len(fields) == len(values) else None


def read_picture(path: Path) -> bytes:
    """The bytes of a picture to start from.

    Raises:
        BatchFileError: The file cannot be read, is too large, or is of no kind that is taken.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INIT_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BatchFileError(f"the picture {path} cannot be read ({error})") from None
    if len(data) > MAX_INIT_IMAGE_BYTES:
        raise BatchFileError(f"the picture {path} has more than {MAX_INIT_IMAGE_BYTES} bytes; make it smaller")
    if not data.startswith(tuple(INIT_IMAGE_SIGNATURES)):
        raise BatchFileError(f"{path} is not a {' or '.join(INIT_IMAGE_SIGNATURES.values())} file")
    return data


def parse_value(text: str, column: str) -> Any:
    """A value of a column from text.

    Raises:
        ValueError: The text is not of the column's type.
    """
    return _from_text(text, COLUMNS[column])


def _from_text(text: str, kind: Kind) -> Any:
    return _from_json(kind(text), kind)


def _from_json(value: Any, kind: Kind) -> Any:
    """`value` if it is of the kind; a whole number will do for a number, true and false for nothing."""
    if value is not None and type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair, which JSON can write, is no text
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value


def wrong(name: str, line: int, column: int | str, problem: str) -> BatchFileError:
    """The error for one place of a batch."""
    return BatchFileError(
        f"{name}, line {line}, column {column}: {problem}. Nothing of the file was submitted.",
        file=name,
        line=str(line),
        column=str(column),
        problem=problem,
    )


Reader = Callable[[Iterator[str], str, Complain], Iterator[Row]]

READERS: Mapping[str, Reader] = {"txt": read_txt, "csv": read_csv, "jsonl": read_jsonl, "ndjson": read_jsonl}
"""How to read a file, by the ending of its name."""
