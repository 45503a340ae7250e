"""Grids of what varies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.batch import Row
from farm.batch.grid import Axis, parse_axis, vary
from farm.domain import SEED_LIMIT, ImageSpec


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("guidance_scale=5,7.5", Axis("guidance_scale", (5.0, 7.5))),
        ("sampler=euler, dpmpp-2m", Axis("sampler", ("euler", "dpmpp-2m"))),
        ("seed=0", Axis("seed", (0,))),
        ('prompt="a red, round circle","a star"', Axis("prompt", ("a red, round circle", "a star"))),
    ],
)
def test_an_axis_is_read_from_a_field_and_its_values(text: str, axis: Axis) -> None:
    assert parse_axis(text) == axis


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour=red,blue", '"colour" is not a field that can vary; there are prompt, negative_prompt'),
        ("steps=5,many", '"many" is not a value of steps'),
        ("guidance_scale=nan", '"nan" is not a value of guidance_scale'),
        ("steps=", "write steps=VALUE,VALUE"),
        ("steps", "write steps=VALUE,VALUE"),
        ("sampler=euler,,ddim", "write sampler=VALUE,VALUE"),
        ("steps=5,5", "with values that differ"),
    ],
)
def test_an_axis_that_cannot_be_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_axis(text)


def test_a_grid_is_the_product_of_rows_and_axes_with_the_last_axis_fastest() -> None:
    rows = [Row(1, ImageSpec(prompt="a", steps=9)), Row(4, ImageSpec(prompt="b"))]
    laid_out = list(vary(rows, [Axis("steps", (1, 2)), Axis("sampler", ("x", "y"))], first_seed=0))
    assert [(row.line, row.spec.prompt, row.spec.steps, row.spec.sampler) for row in laid_out] == [
        (1, "a", 1, "x"),
        (1, "a", 1, "y"),
        (1, "a", 2, "x"),
        (1, "a", 2, "y"),
        (4, "b", 1, "x"),
        (4, "b", 1, "y"),
        (4, "b", 2, "x"),
        (4, "b", 2, "y"),
    ]


@given(
    st.lists(st.none() | st.integers(0, SEED_LIMIT - 1), min_size=1, max_size=5),
    st.integers(0, SEED_LIMIT - 1),
    st.integers(1, 4),
)
def test_what_is_made_of_a_row_starts_from_the_same_noise(seeds: list[int | None], first: int, width: int) -> None:
    rows = [Row(line, ImageSpec(seed=seed)) for line, seed in enumerate(seeds)]
    laid_out = list(vary(rows, [Axis("steps", tuple(range(width)))], first))
    expected = [(first + place) % SEED_LIMIT if seed is None else seed for place, seed in enumerate(seeds)]
    assert [row.spec.seed for row in laid_out] == [seed for seed in expected for _ in range(width)]


def test_seeds_can_be_what_varies() -> None:
    laid_out = vary([Row(1, ImageSpec(prompt="a", seed=5))], [Axis("seed", (1, 2))], first_seed=9)
    assert [row.spec.seed for row in laid_out] == [1, 2]
