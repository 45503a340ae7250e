"""Many small pictures with captions on one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
_PAPER = (250, 250, 248)
_INK = (60, 60, 60)


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a sheet: its file and what stands under it."""

    file: Path
    caption: str


def draw_contact_sheet(cells: Sequence[Cell]) -> "Image.Image":
    """Draws a sheet that is about as wide as it is high.

    Args:
        cells: At least one and at most `MAX_CELLS`, row by row. All pictures are scaled to one width; the first one's
            proportions decide the height of the cells.
    """
    from PIL import Image, ImageDraw, ImageFont

    with Image.open(cells[0].file) as first:
        picture_height = max(1, round(CELL_WIDTH * first.height / first.width))
    pitch_x = CELL_WIDTH + _MARGIN
    pitch_y = picture_height + _CAPTION_LINES * _LINE_HEIGHT + _MARGIN
    columns = min(len(cells), max(1, round(math.sqrt(len(cells) * pitch_y / pitch_x))))
    rows = math.ceil(len(cells) / columns)
    sheet = Image.new("RGB", (columns * pitch_x + _MARGIN, rows * pitch_y + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for position, cell in enumerate(cells):
        row, column = divmod(position, columns)
        left, top = _MARGIN + column * pitch_x, _MARGIN + row * pitch_y
        with Image.open(cell.file) as picture:
            scaled = picture.convert("RGB").resize((CELL_WIDTH, picture_height), Image.Resampling.LANCZOS)
        sheet.paste(scaled, (left, top))
        caption = "\n".join(wrap(cell.caption, draw, font))
        draw.multiline_text((left, top + picture_height + 4), caption, _INK, font, spacing=2)
    return sheet


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
