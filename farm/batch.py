"""Reads batch files row by row: a prompt a line (txt), or columns named after `ImageSpec`'s fields (csv, jsonl).

A reader holds one row at a time, so the length of a file does not matter. What makes no sense as text or as a type is
refused here, named by line and column; what a model cannot do is refused by the farm, named by entry.
"""

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from farm.domain import ImageSpec
from farm.errors import BatchFileError

COLUMNS: Mapping[str, type[str] | type[int] | type[float]] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "width": int,
    "height": int,
    "steps": int,
    "guidance_scale": float,
    "sampler": str,
    "strength": float,
}

MAX_LINE_BYTES = 1_000_000

_KINDS = {str: "text", int: "a whole number", float: "a number"}
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a batch file, and the line where it stands (from 1)."""

    line: int
    spec: ImageSpec


def read_batch(path: Path) -> Iterator[Row]:
    """Reads a file whose name ends in .txt, .csv, .jsonl or .ndjson.

    Raises:
        BatchFileError: The file cannot be read, or a row of it is wrong.
    """
    reader = READERS.get(path.suffix.lower().removeprefix("."))
    if reader is None:
        raise BatchFileError(f"{path} is no batch file by its name; use one that ends in .{', .'.join(READERS)}.")
    try:
        with path.open("rb") as file:
            yield from read_stream(file, reader, str(path))
    except OSError as error:
        raise BatchFileError(f"{path} cannot be read: {error.strerror}.") from error


def read_stream(file: BinaryIO, reader: "Reader", name: str) -> Iterator[Row]:
    """Reads an open binary stream with one of `READERS`; `name` is what messages call it.

    Raises:
        BatchFileError: The stream holds no row, or one that is wrong.
    """
    row = None
    for row in reader(_lines(file, name), name):
        yield row
    if row is None:
        raise BatchFileError(f"{name} holds no prompts.")


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a text in UTF-8, with or without a byte order mark; decoded one by one, to name the wrong one."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(raw) == MAX_LINE_BYTES:
            raise _wrong(name, number, 1, f"the line is longer than {MAX_LINE_BYTES} bytes: is this a batch file?")
        if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise _wrong(name, 1, 1, "this is UTF-16; save the file as UTF-8")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"the byte 0x{raw[error.start]:02X} is not UTF-8; save the file as UTF-8"
            raise _wrong(name, number, error.start + 1, problem) from None
        if "\0" in line:
            raise _wrong(name, number, line.index("\0") + 1, "there is a zero byte: this is no text file")
        yield line


def read_txt(lines: Iterator[str], name: str) -> Iterator[Row]:  # noqa: ARG001 - one signature for all readers
    """A prompt a line; empty lines are skipped."""
    for number, line in enumerate(lines, 1):
        if prompt := line.strip():
            yield Row(number, ImageSpec(prompt=prompt))


def read_csv(lines: Iterator[str], name: str) -> Iterator[Row]:
    """Columns by the names in the first line that is not empty, separated by commas, semicolons or tabs.

    Empty cells leave their field open.
    """
    offset, header = next(((number, line) for number, line in enumerate(lines, 1) if line.strip()), (1, ""))
    delimiter = max(_DELIMITERS, key=header.count)
    columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
    for position, column in enumerate(columns, 1):
        if column not in COLUMNS or columns.index(column) != position - 1:
            problem = "stands there twice" if column in COLUMNS else f"is not one of {', '.join(COLUMNS)}"
            raise _wrong(name, offset, position, f'the column "{column[:50]}" {problem}')
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = offset + rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise _wrong(name, start, 1, f"the row cannot be read ({error})") from None
        if cells is None:
            return
        if len(cells) > len(columns):
            raise _wrong(name, start, len(columns) + 1, "there are more cells than columns; put quotes round commas")
        fields = {
            column: _parse(cell.strip(), COLUMNS[column], name, start, column)
            for column, cell in zip(columns, cells, strict=False)
            if cell.strip()
        }
        if fields:
            yield Row(start, ImageSpec(**fields))


def _parse(cell: str, kind: type[str] | type[int] | type[float], name: str, line: int, column: str) -> Any:
    try:
        return kind(cell)
    except ValueError:
        raise _wrong(name, line, column, f'"{cell[:50]}" is not {_KINDS[kind]}') from None


def read_jsonl(lines: Iterator[str], name: str) -> Iterator[Row]:
    """A JSON object a line; empty lines are skipped, and fields that are null are left open."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise _wrong(name, number, error.colno, f"this is no JSON ({error.msg})") from None
        except (RecursionError, ValueError) as error:  # nested without end; a number of thousands of digits
            raise _wrong(name, number, 1, f"this is no entry ({error})") from None
        if not isinstance(entry, dict):
            raise _wrong(name, number, 1, 'this is no JSON object; write {"prompt": "..."}')
        yield Row(number, ImageSpec(**{field: _typed(value, name, number, field) for field, value in entry.items()}))


def _typed(value: Any, name: str, line: int, field: str) -> Any:
    """`value` if it has the type of `field`; a whole number will do for a number, true and false for nothing."""
    kind = COLUMNS.get(field)
    if kind is None:
        raise _wrong(name, line, field[:50], f"there is no such field; there are {', '.join(COLUMNS)}")
    if value is not None and type(value) is not kind and not (kind is float and type(value) is int):
        raise _wrong(name, line, field, f"{json.dumps(value)[:50]} is not {_KINDS[kind]}")
    return value


def _wrong(name: str, line: int, column: int | str, problem: str) -> BatchFileError:
    return BatchFileError(
        f"{name}, line {line}, column {column}: {problem}. Nothing of the file was submitted.",
        file=name,
        line=str(line),
        column=str(column),
    )


Reader = Callable[[Iterator[str], str], Iterator[Row]]

READERS: Mapping[str, Reader] = {"txt": read_txt, "csv": read_csv, "jsonl": read_jsonl, "ndjson": read_jsonl}
"""How to read a file, by the ending of its name."""
