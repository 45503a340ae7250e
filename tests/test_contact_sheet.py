"""Contact sheets."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from farm.contact_sheet import CELL_WIDTH, Cell, Table, draw_contact_sheet, table, varying


def picture(folder: Path, number: int, colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Path:
    file = folder / f"{number:06d}.png"
    Image.new("RGB", size, colour).save(file)
    return file


def pixels(sheet: Image.Image) -> Counter[object]:
    """How many pixels there are of each colour."""
    return Counter({colour: count for count, colour in sheet.getcolors(maxcolors=sheet.width * sheet.height) or []})


def test_every_picture_is_on_the_sheet_once(tmp_path: Path) -> None:
    shades = [(20 * number, 0, 255 - 20 * number) for number in range(7)]
    sheet = draw_contact_sheet(
        [Cell(picture(tmp_path, number, shade), {"prompt": "x"}) for number, shade in enumerate(shades)]
    )
    assert {shade: pixels(sheet)[shade] for shade in shades} == dict.fromkeys(shades, CELL_WIDTH * CELL_WIDTH)


def test_the_caption_stands_under_its_picture(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (250, 250, 248))
    with_caption = draw_contact_sheet([Cell(file, {"prompt": "a red circle"})])
    without = draw_contact_sheet([Cell(file)])
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
    sheet = draw_contact_sheet([Cell(file, {"prompt": "x"})] * 24)
    assert 0.6 < sheet.width / sheet.height < 1.7


@pytest.mark.parametrize("size", [(1, 1), (64, 32), (30, 90)])
def test_pictures_keep_their_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    sheet = draw_contact_sheet([Cell(picture(tmp_path, 0, (9, 8, 7), size))])
    assert pixels(sheet)[9, 8, 7] == CELL_WIDTH * round(CELL_WIDTH * size[1] / size[0])


def test_captions_of_any_length_stay_in_their_cell(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (250, 250, 248))
    for caption in ("word " * 200, "w" * 500, "☆" * 50, "a\nb\nc\nd\ne"):
        sheet = draw_contact_sheet([Cell(file, {"prompt": caption})])
        edge = sheet.crop((sheet.width - 6, 0, sheet.width, sheet.height))
        assert edge.getcolors() == [(edge.width * edge.height, (250, 250, 248))]


def grid(folder: Path, prompts: list[str], guidance: list[str], **fixed: str) -> list[Cell]:
    """A cell for each pair, each of its own colour; images of a prompt share a seed."""
    cells = []
    for row, prompt in enumerate(prompts):
        for column, value in enumerate(guidance):
            file = picture(folder, 10 * row + column, (10 * row, 20 * column, 200))
            cells.append(Cell(file, {"prompt": prompt, "seed": str(row), "guidance_scale": value, **fixed}))
    return cells


def test_two_settings_that_vary_make_a_table_whatever_the_seeds_are(tmp_path: Path) -> None:
    cells = grid(tmp_path, ["a", "b", "c"], ["5", "7.5"], steps="20")
    assert table(cells) == Table("prompt", "guidance_scale", ("a", "b", "c"), ("5", "7.5"))
    assert varying(cells) == {"prompt": ("a", "b", "c"), "seed": ("0", "1", "2"), "guidance_scale": ("5", "7.5")}


def test_seeds_make_a_table_where_they_are_what_varies_beside_one_other(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (1, 2, 3))
    cells = [Cell(file, {"prompt": prompt, "seed": seed}) for prompt in ("a", "b", "c") for seed in ("1", "2")]
    assert table(cells) == Table("prompt", "seed", ("a", "b", "c"), ("1", "2"))


def test_a_batch_of_prompts_with_seeds_of_their_own_is_no_table(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (1, 2, 3))
    assert table([Cell(file, {"prompt": str(number), "seed": str(number)}) for number in range(9)]) is None
    assert table(grid(tmp_path, ["a", "b", "c"], ["5", "7.5"])[:-1]) is None
    assert table(grid(tmp_path, ["a", "a", "c"], ["5", "7.5"])) is None


def test_a_picture_of_a_table_stands_in_its_row_and_column_and_one_that_failed_leaves_its_place_empty(
    tmp_path: Path,
) -> None:
    cells = grid(tmp_path, ["a", "b", "c"], ["5", "7.5"])
    cells[3] = Cell(None, cells[3].settings)
    sheet = draw_contact_sheet(cells[::-1])  # in whatever order they come
    places: dict[object, tuple[int, int]] = {}
    for y in range(0, sheet.height, 8):
        for x in range(0, sheet.width, 8):
            places.setdefault(sheet.getpixel((x, y)), (x, y))
    lefts = {column: {places[10 * row, 20 * column, 200][0] for row in (0, 2)} for column in (0, 1)}
    tops = {row: {places[10 * row, 20 * column, 200][1] for column in (0, 1)} for row in (0, 2)}
    assert [len(found) for found in (*lefts.values(), *tops.values())] == [1, 1, 1, 1]
    assert (10, 0, 200) in places
    assert (10, 20, 200) not in places


def test_what_varies_is_said_under_each_picture_where_there_is_no_table(tmp_path: Path) -> None:
    file = picture(tmp_path, 0, (250, 250, 248))
    same = [Cell(file, {"prompt": "a", "steps": "5"})] * 3
    differing = [Cell(file, {"prompt": "a", "steps": steps}) for steps in ("5", "5", "9")]
    assert pixels(draw_contact_sheet(same)) != pixels(draw_contact_sheet(differing))
