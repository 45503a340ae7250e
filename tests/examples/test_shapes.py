"""The world of the shapes model: captions can be read, pictures can be checked, and the checker can say no."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from examples.shapes import scenes
from examples.shapes.captions import read_caption, words, write_caption
from examples.shapes.checker import Verdict, analyse, check, patches
from examples.shapes.scenes import Pixels, Scene, Thing, arrange, draw, random_scene
from examples.shapes.tokenizer import merges_for, write_tokenizer

SHAPES = Path(scenes.__file__).parent
ALL_RIGHT = Verdict(background=True, count=True, colors=True, shapes=True, place=True)

seeds = st.integers(0, 2**32 - 1)
thing_counts = st.sampled_from([1, 2])


def drawn(scene: Scene, seed: int = 0) -> Pixels:
    rng = random.Random(seed)
    return draw(scene, arrange(scene, rng), rng)


@given(seeds, thing_counts)
def test_the_checker_finds_nothing_wrong_with_drawn_pictures(seed: int, thing_count: int) -> None:
    scene = random_scene(random.Random(seed), thing_count)

    assert check(scene, drawn(scene, seed)) == ALL_RIGHT


@given(seeds, thing_counts)
def test_a_caption_can_be_read_back(seed: int, thing_count: int) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng, thing_count)
    caption = write_caption(scene, rng)
    read = read_caption(caption)

    assert (read.background, read.background_told, read.place) == (scene.background, scene.background_told, scene.place)
    assert [(thing.shape, thing.color) for thing in read.things] == [
        (thing.shape, thing.color) for thing in scene.things
    ]
    assert all(told.size in (thing.size, "medium") for told, thing in zip(read.things, scene.things, strict=True))
    assert set(caption.replace(",", " ").replace(".", " ").split()) <= set(words())


@pytest.mark.parametrize(
    ("caption", "scene"),
    [
        ("a red circle", Scene((Thing("circle", "red"),), "white", "center", background_told=False)),
        ("white star", Scene((Thing("star", "white"),), "black", "center", background_told=False)),
        ("a tiny ring that is blue on top, grey background", Scene((Thing("ring", "blue", "small"),), "gray", "top")),
        (
            "qwzx an orange cross to the right of a huge green square on black, minimal",
            Scene((Thing("cross", "orange"), Thing("square", "green", "large")), "black", "right"),
        ),
        (
            "red background, a white ring on top of a black ring",
            Scene((Thing("ring", "white"), Thing("ring", "black")), "red", "above"),
        ),
    ],
)
def test_captions_mean_what_they_say(caption: str, scene: Scene) -> None:
    assert read_caption(caption) == scene


@pytest.mark.parametrize(
    "caption",
    ["", "a red thing", "a circle", "a red circle inside a blue ring", "a red ring, a red ring and a red ring"],
)
def test_a_caption_outside_the_grammar_is_refused(caption: str) -> None:
    with pytest.raises(ValueError, match=r"does not name|not in the grammar"):
        read_caption(caption)


ONE = Scene((Thing("star", "yellow"),), "blue", "left")
TWO = Scene((Thing("star", "yellow"), Thing("ring", "red")), "blue", "above")
BESIDES = replace(TWO, things=(TWO.things[0], Thing("ring", "red", "small")))


@pytest.mark.parametrize(
    ("wanted", "shown", "verdict"),
    [
        (ONE, replace(ONE, background="purple"), replace(ALL_RIGHT, background=False)),
        (ONE, replace(ONE, things=(Thing("star", "orange"),)), replace(ALL_RIGHT, colors=False)),
        (ONE, replace(ONE, things=(Thing("triangle", "yellow"),)), replace(ALL_RIGHT, shapes=False)),
        (ONE, replace(ONE, place="center"), replace(ALL_RIGHT, place=False)),
        (TWO, replace(TWO, place="below"), replace(ALL_RIGHT, colors=False, shapes=False)),
        (TWO, replace(TWO, place="left"), replace(ALL_RIGHT, place=False)),
        (TWO, replace(TWO, things=(TWO.things[0], Thing("ring", "green"))), replace(ALL_RIGHT, colors=False)),
        (replace(ONE, place="top"), BESIDES, replace(ALL_RIGHT, count=False)),
    ],
)
def test_the_checker_names_what_is_wrong(wanted: Scene, shown: Scene, verdict: Verdict) -> None:
    larger_first = replace(shown, things=(replace(shown.things[0], size="large"), *shown.things[1:]))

    assert check(wanted, drawn(larger_first)) == verdict
    assert not verdict.all


def test_an_empty_picture_shows_nothing() -> None:
    empty = np.full((64, 64, 3), scenes.COLORS["blue"], dtype=np.uint8)

    assert analyse(empty) == ("blue", [])
    assert check(ONE, empty) == Verdict(background=True, count=False, colors=False, shapes=False, place=False)


def test_patches_connect_by_sides_and_specks_do_not_count() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[5:15, 5:15] = mask[15:25, 15:25] = mask[40:43, 40:43] = True

    assert sorted(int(patch.sum()) for patch in patches(mask)) == [100, 100]


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_shapes_are_told_apart_when_they_are_blurred(shape: str) -> None:
    scene = Scene((Thing(shape, "red", "large"),), "white", "center")
    small = Image.fromarray(drawn(scene)).resize((32, 32), Image.Resampling.BOX)

    assert check(scene, np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))).all


def test_the_tokenizer_is_the_one_that_the_model_was_trained_with(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)

    for file in tmp_path.iterdir():
        assert file.read_bytes() == (SHAPES / "model" / "tokenizer" / file.name).read_bytes(), file.name
    assert len(list(tmp_path.iterdir())) == 4


@given(st.lists(st.text("abc", min_size=1, max_size=6), max_size=6, unique=True))
def test_merging_makes_every_word_whole(vocabulary: list[str]) -> None:
    merges = merges_for(vocabulary)

    for word in vocabulary:
        symbols = [*word[:-1], word[-1] + "</w>"]
        for pair in merges:
            position = 0
            while position + 1 < len(symbols):
                if (symbols[position], symbols[position + 1]) == pair:
                    symbols[position : position + 2] = ["".join(pair)]
                position += 1
        assert symbols == [word + "</w>"]
