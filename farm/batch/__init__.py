"""Batches before they are submitted: files are read, templates expanded, grids laid out, row by row."""

from farm.batch.files import (
    COLUMNS,
    READERS,
    Complain,
    Row,
    open_batch,
    read_batch,
    read_picture,
    read_stream,
    reader_for,
    refuse,
)

__all__ = [
    "COLUMNS",
    "READERS",
    "Complain",
    "Row",
    "open_batch",
    "read_batch",
    "read_picture",
    "read_stream",
    "reader_for",
    "refuse",
]
