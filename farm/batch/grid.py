"""Grids: every row of a batch with each combination of the values of some fields."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farm.batch.files import COLUMNS, Row, parse_value
from farm.domain import SEED_LIMIT

VARIABLE = tuple(column for column in COLUMNS if column != "init_image")
"""Fields that a grid can vary: those whose values can be written beside a picture."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A field and the values that it takes in turn."""

    field: str
    values: tuple[Any, ...]


def parse_axis(text: str) -> Axis:
    """Reads "guidance_scale=5,7.5". A value that holds a comma is put into quotes.

    Raises:
        ValueError: It is not of that form; the message says why.
    """
    field, _, listed = text.partition("=")
    field = field.strip()
    if field not in VARIABLE:
        raise ValueError(f'"{field}" is not a field that can vary; there are {", ".join(VARIABLE)}')
    texts = [value.strip() for value in next(csv.reader([listed], skipinitialspace=True), [])]
    values = []
    for value in texts:
        try:
            values.append(parse_value(value, field))
        except ValueError:
            raise ValueError(f'"{value}" is not a value of {field}') from None
    if not values or "" in texts or len(set(values)) < len(values):
        raise ValueError(f"write {field}=VALUE,VALUE,... with values that differ")
    return Axis(field, tuple(values))


def vary(rows: Iterable[Row], axes: Sequence[Axis], first_seed: int) -> Iterator[Row]:
    """Gives each row once for each combination of the axes' values, the last axis fastest.

    All images of a row start from the same noise, so that they differ by what varies alone: a row that names no seed
    gets `first_seed` plus its position among the rows, unless the seed is what varies.

    Args:
        rows: The rows; an axis replaces what they say of its field.
        axes: What varies, each field once.
        first_seed: Seed of the first row.
    """
    for position, row in enumerate(rows):
        spec = row.spec
        if spec.seed is None:
            spec = replace(spec, seed=(first_seed + position) % SEED_LIMIT)
        for values in itertools.product(*(axis.values for axis in axes)):
            chosen = {axis.field: value for axis, value in zip(axes, values, strict=True)}
            yield replace(row, spec=replace(spec, **chosen))
