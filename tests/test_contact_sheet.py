"""Contact sheets."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from farm.contact_sheet import CELL_WIDTH, Cell, draw_contact_sheet


def picture(folder: Path, number: int, colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Path:
    file = folder / f"{number:06d}.png"
    Image.new("RGB", size, colour).save(file)
    return file


def pixels(sheet: Image.Image) -> Counter[object]:
    """How many pixels there are of each colour."""
    return Counter({colour: count for count, colour in sheet.getcolors(maxcolors=sheet.width * sheet.height) or []})


def test_every_picture_is_on_the_sheet_once(tmp_path: Path) -> None:
    shades = [(20 * number, 0, 255 - 20 * number) for number in range(7)]
    sheet = draw_contact_sheet([Cell(picture(tmp_path, number, shade), "x") for number, shade in enumerate(shades)])
    assert {shade: pixels(sheet)[shade] for shade in shades} == dict.fromkeys(shades, CELL_WIDTH * CELL_WIDTH)


def test_the_caption_stands_under_its_picture(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (250, 250, 248))
    with_caption = draw_contact_sheet([Cell(file, "a red circle")])
    without = draw_contact_sheet([Cell(file, "")])
    assert with_caption.size == without.size
    changed = [
        y
        for y in range(without.height)
        for x in range(without.width)
        if with_caption.getpixel((x, y)) != without.getpixel((x, y))
    ]
    assert min(changed) > CELL_WIDTH


def test_a_sheet_of_many_is_about_as_wide_as_high(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (1, 2, 3))
    sheet = draw_contact_sheet([Cell(file, "x")] * 24)
    assert 0.6 < sheet.width / sheet.height < 1.7


@pytest.mark.parametrize("size", [(1, 1), (64, 32), (30, 90)])
def test_pictures_keep_their_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    sheet = draw_contact_sheet([Cell(picture(tmp_path, 0, (9, 8, 7), size), "")])
    assert pixels(sheet)[9, 8, 7] == CELL_WIDTH * round(CELL_WIDTH * size[1] / size[0])


def test_captions_of_any_length_stay_in_their_cell(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (250, 250, 248))
    for caption in ("word " * 200, "w" * 500, "☆" * 50, "a\nb\nc\nd\ne"):
        sheet = draw_contact_sheet([Cell(file, caption)])
        edge = sheet.crop((sheet.width - 6, 0, sheet.width, sheet.height))
        assert edge.getcolors() == [(edge.width * edge.height, (250, 250, 248))]
