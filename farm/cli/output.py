"""How commands print: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm.api.json_form import json_form

_WIDE = 200
"""Columns where the output is no terminal: enough that nothing is cut."""


def console(*, error: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for a pipe. Strings are printed literally; `Text` has style."""
    made = Console(stderr=error, markup=False, highlight=False, soft_wrap=True)
    return made if made.is_terminal else Console(stderr=error, markup=False, highlight=False, width=_WIDE)


def print_json(value: Message | Sequence[Message] | dict[str, Any]) -> None:
    """Prints a message as one JSON object on one line, or several as an array with one on each."""
    if isinstance(value, Message):
        click.echo(json.dumps(json_form(value), ensure_ascii=False))
    elif isinstance(value, dict):
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        lines = ",\n ".join(json.dumps(json_form(message), ensure_ascii=False) for message in value)
        click.echo(f"[{lines}]")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, nothing: str) -> None:
    """Prints a table, or the sentence `nothing` if it has no rows."""
    table = make_table(columns, rows)
    console().print(table if table.row_count else nothing)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table without lines. Strings are taken literally, whatever users called their things; `Text` brings a style."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def local_time(stamp: Timestamp) -> str:
    """A time in this machine's zone, to the second."""
    return datetime.fromtimestamp(stamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count_images(count: int) -> str:
    """So many images."""
    return f"{count} image{'' if count == 1 else 's'}"


def short_id(name: str) -> str:
    """The last part of a resource name, which commands take as well as the whole."""
    return name.rpartition("/")[2]
