"""Prompt templates: what they make, and how what is wrong with them is told."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.batch import Row
from farm.batch.templates import expand
from farm.domain import ImageSpec
from farm.errors import BatchFileError


def prompts(
    *templates: str, wildcards: Path | None = None, draws: int | None = None, seed: int = 0
) -> Sequence[str | None]:
    rows = [Row(line, ImageSpec(prompt=template)) for line, template in enumerate(templates, 1)]
    return [row.spec.prompt for row in expand(rows, "batch", wildcards, draws, seed)]


@pytest.fixture
def wildcards(tmp_path: Path) -> Path:
    (tmp_path / "places").mkdir()
    (tmp_path / "colours.txt").write_text("red\nblue\n# no colour\n{light|dark} green\n")
    (tmp_path / "places" / "cities.txt").write_text("Rome\n")
    (tmp_path / "loop.txt").write_text("__loop__\n")
    (tmp_path / "empty.txt").write_text("")
    return tmp_path


def test_a_template_makes_every_combination_once() -> None:
    made = prompts("a {red|blue} {circle|star}")
    assert made == ["a red circle", "a red star", "a blue circle", "a blue star"]
    assert prompts("a {2$$ and $$red|blue}", "plain") == ["a red and blue", "a blue and red", "plain"]


def test_wildcards_stand_for_the_lines_of_their_files(wildcards: Path) -> None:
    made = prompts("a __colours__ circle in __places/cities__", wildcards=wildcards)
    assert sorted(map(str, made)) == [
        "a blue circle in Rome",
        "a dark green circle in Rome",
        "a light green circle in Rome",
        "a red circle in Rome",
    ]


def test_what_a_row_says_beside_the_prompt_holds_for_all_that_is_made_of_it() -> None:
    row = Row(7, ImageSpec(prompt="{a|b}", steps=3))
    assert list(expand([row], "batch", None, None, 0)) == [
        Row(7, ImageSpec(prompt="a", steps=3)),
        Row(7, ImageSpec(prompt="b", steps=3)),
    ]
    open_row = Row(1, ImageSpec(steps=3))
    assert list(expand([open_row], "batch", None, None, 0)) == [open_row]


def test_the_same_seed_draws_the_same_prompts_and_another_draws_others() -> None:
    template = "a {red|blue|green|black} {circle|star|square}"
    drawn = prompts(template, draws=20, seed=7)
    assert len(drawn) == 20
    assert drawn == prompts(template, draws=20, seed=7) != prompts(template, draws=20, seed=8)
    assert set(drawn) <= set(prompts(template))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("a {red|blue", 'from "{red|blue" on'),
        ("50% off", 'from "% off" on'),
        ("a __colour__", r"no wildcard __colour__, or it is empty; known are colours, empty, loop, places/cities"),
        ("a __empty__", "no wildcard __empty__"),
        ("a __loop__", "stands for itself"),
        ("a ${thing}", "variable that has no value .*thing"),
    ],
)
@pytest.mark.parametrize("draws", [None, 5])
def test_a_template_that_cannot_be_expanded_is_named_by_its_line(
    wildcards: Path, template: str, says: str, draws: int | None
) -> None:
    with pytest.raises(BatchFileError, match=f"batch, line 2, column prompt: .*{says}"):
        prompts("fine", template, wildcards=wildcards, draws=draws)


def test_a_template_that_makes_no_prompt_is_refused() -> None:
    with pytest.raises(BatchFileError, match="line 1, column prompt: the template makes no prompt"):
        prompts("a {2$$red|red}")


def test_a_template_that_makes_too_many_prompts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.batch.templates.MAX_PROMPTS", 100)
    assert len(prompts("{1|2|3|4|5|6|7|8|9|10} " * 2)) == 100
    with pytest.raises(BatchFileError, match="more than 100 prompts; draw some with --random"):
        prompts("{1|2|3|4|5|6|7|8|9|10} " * 3)


@settings(max_examples=200)
@given(st.text(st.sampled_from("{}|$%#_~@!:=,-/ ab12"), max_size=15), st.none() | st.just(3))
def test_a_template_of_any_kind_makes_prompts_or_is_refused(template: str, draws: int | None) -> None:
    row = Row(1, ImageSpec(prompt=template))
    with suppress(BatchFileError):
        made = list(islice(expand([row], "batch", None, draws, 0), 50))
        assert made
        assert all(one.spec.prompt is not None for one in made)
