"""Many small pictures with captions on one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

CELL_WIDTH = 192
MAX_CELLS = 400
"""A sheet of more is of no use to the eye; the first ones stand for the rest."""

_MARGIN = 12
_FONT_SIZE = 13
_LINE_HEIGHT = 17
_CAPTION_LINES = 3
_CAPTION_HEIGHT = _CAPTION_LINES * _LINE_HEIGHT
_PAPER = (250, 250, 248)
_INK = (60, 60, 60)


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a sheet.

    Attributes:
        file: Its file; None for a picture that is not there, whose place stays empty.
        settings: What it was made with, by name, in words.
        state: What is written in the place of a picture that is not there.
    """

    file: Path | None
    settings: Mapping[str, str] = field(default_factory=dict)
    state: str = "failed"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells that differ in two settings, each pair of values once: one varies down the sheet, the other across it."""

    down: str
    across: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def varying(cells: Sequence[Cell]) -> dict[str, tuple[str, ...]]:
    """The settings in which cells differ, with their values, each in the order of its first cell."""
    names = dict.fromkeys(name for cell in cells for name in cell.settings)
    values = {name: tuple(dict.fromkeys(cell.settings.get(name, "") for cell in cells)) for name in names}
    return {name: known for name, known in values.items() if len(known) > 1}


def table(cells: Sequence[Cell]) -> Table | None:
    """How cells are laid out where exactly two settings vary independently; None where it is otherwise.

    Seeds that follow from something else (each image its own, or each prompt) do not count as varying.
    """
    differing = varying(cells)
    names = [name for name in differing if name != "seed"]
    if len(names) == 1 and "seed" in differing:
        names.append("seed")
    if len(names) != 2:
        return None
    down, across = sorted(names, key=lambda name: -len(differing[name]))
    pairs = {(cell.settings.get(down, ""), cell.settings.get(across, "")) for cell in cells}
    if len(pairs) < len(cells) or len(cells) < len(differing[down]) * len(differing[across]):
        return None
    return Table(down, across, differing[down], differing[across])


def draw_contact_sheet(cells: Sequence[Cell]) -> "Image.Image":
    """Draws a sheet: a table with heads where exactly two settings vary, else captions under pictures, row by row.

    Args:
        cells: At most `MAX_CELLS`, at least one of them with a file. All pictures are scaled to one width; the first
            one's proportions decide the height of the cells.
    """
    from PIL import Image

    with Image.open(next(cell.file for cell in cells if cell.file is not None)) as first:
        picture_height = max(1, round(CELL_WIDTH * first.height / first.width))
    laid_out = table(cells)
    return _draw_captioned(cells, picture_height) if laid_out is None else _draw_table(cells, laid_out, picture_height)


def _draw_captioned(cells: Sequence[Cell], picture_height: int) -> "Image.Image":
    """A sheet that is about as wide as it is high; under each picture its prompt, and what else varies."""
    shown = [cell for cell in cells if cell.file is not None]
    names = [name for name in varying(cells) if name not in ("prompt", "seed")]
    pitch_x, pitch_y = CELL_WIDTH + _MARGIN, picture_height + _CAPTION_HEIGHT + _MARGIN
    columns = min(len(shown), max(1, round(math.sqrt(len(shown) * pitch_y / pitch_x))))
    sheet = _Sheet(columns * pitch_x + _MARGIN, math.ceil(len(shown) / columns) * pitch_y + _MARGIN)
    for position, cell in enumerate(shown):
        row, column = divmod(position, columns)
        left, top = _MARGIN + column * pitch_x, _MARGIN + row * pitch_y
        sheet.paste(cell, left, top, picture_height)
        settings = [f"{name} {cell.settings.get(name, '')}" for name in names]
        sheet.write(" · ".join([*settings, cell.settings.get("prompt", "")]), left, top + picture_height + 4)
    return sheet.image


def _draw_table(cells: Sequence[Cell], laid_out: Table, picture_height: int) -> "Image.Image":
    """A sheet with a head over each column and before each row; in the corner, the prompt if it is one for all."""
    pitch_x, pitch_y = CELL_WIDTH + _MARGIN, max(picture_height, _CAPTION_HEIGHT) + _MARGIN
    left, top = _MARGIN + pitch_x, _MARGIN + _CAPTION_HEIGHT
    sheet = _Sheet(left + len(laid_out.columns) * pitch_x, top + len(laid_out.rows) * pitch_y)
    if "prompt" not in (laid_out.down, laid_out.across):
        sheet.write(cells[0].settings.get("prompt", ""), _MARGIN, _MARGIN)
    head = _head(laid_out.down)
    for row, value in enumerate(laid_out.rows):
        sheet.write(head(value), _MARGIN, top + row * pitch_y)
    head = _head(laid_out.across)
    for column, value in enumerate(laid_out.columns):
        sheet.write(head(value), left + column * pitch_x, _MARGIN)
    for cell in cells:
        row = laid_out.rows.index(cell.settings.get(laid_out.down, ""))
        column = laid_out.columns.index(cell.settings.get(laid_out.across, ""))
        sheet.paste(cell, left + column * pitch_x, top + row * pitch_y, picture_height)
    return sheet.image


def _head(name: str) -> Callable[[str], str]:
    """Prompts speak for themselves; of other settings the name is said."""
    return (lambda value: value) if name == "prompt" else (lambda value: f"{name} {value}")


class _Sheet:
    """Paper with a pen."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(_FONT_SIZE)

    def paste(self, cell: Cell, left: int, top: int, height: int) -> None:
        from PIL import Image

        if cell.file is None:
            self.write(cell.state, left, top)
            return
        with Image.open(cell.file) as picture:
            scaled = picture.convert("RGB").resize((CELL_WIDTH, height), Image.Resampling.LANCZOS)
        self.image.paste(scaled, (left, top))

    def write(self, text: str, left: int, top: int) -> None:
        caption = "\n".join(wrap(text, self._draw, self._font))
        self._draw.multiline_text((left, top), caption, _INK, self._font, spacing=2)


def wrap(text: str, draw: "ImageDraw.ImageDraw", font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> list[str]:
    """Breaks `text` into the lines of a caption, and says with "…" that something is left out."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font) <= CELL_WIDTH or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < _CAPTION_LINES:
            lines.append(word)
        else:
            lines[-1] += " …"
            break
    return [_fit(line, draw, font) for line in lines]


def _fit(line: str, draw: "ImageDraw.ImageDraw", font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """Cuts a line that is too wide, since a word can be longer than a cell."""
    if draw.textlength(line, font) <= CELL_WIDTH:
        return line
    kept = line.removesuffix(" …")
    while kept and draw.textlength(f"{kept}…", font) > CELL_WIDTH:
        kept = kept[:-1]
    return f"{kept}…"
