"""Training examples say one thing in all their forms, and training ends in a checkpoint that others can read."""

import itertools
import random
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from examples.shapes.batches import LABEL_SIZES, SHAPE_CODES, Tokenize, labels, random_batch, shape_codes
from examples.shapes.scenes import Placed, Scene, Thing
from examples.shapes.train import Plan, train


@pytest.fixture(scope="module")
def tokenize() -> Tokenize:
    from transformers import CLIPTokenizer

    folder = Path(__file__).parents[2] / "examples" / "shapes" / "model" / "tokenizer"
    tokenizer = CLIPTokenizer.from_pretrained(folder)

    def tokens(captions: list[str]) -> torch.Tensor:
        ids: torch.Tensor = tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
        return ids

    return tokens


def test_a_batch_holds_pictures_latents_tokens_and_labels_of_the_same_scenes(tokenize: Tokenize) -> None:
    batch = random_batch(40, random.Random(5), tokenize)

    assert batch.pixels.shape == (40, 3, 64, 64)
    assert batch.latents.shape == (40, 4, 8, 8)
    assert batch.tokens.shape == (40, 77)
    assert -1 <= batch.pixels.min() < batch.pixels.max() <= 1
    torch.testing.assert_close(batch.latents[:, :3], torch.nn.functional.avg_pool2d(batch.pixels, 8))
    assert (batch.latents[:, 3].abs().amax(dim=(1, 2)) > 0.2).all(), "each picture has a thing, and its code"
    assert (batch.labels < torch.tensor(LABEL_SIZES)).all()
    assert len({tuple(tokens) for tokens in batch.tokens.tolist()}) > 30


def test_each_place_of_the_code_map_tells_the_nearest_thing() -> None:
    left, right = Placed(Thing("star", "red"), 16, 32, 10), Placed(Thing("circle", "blue"), 48, 32, 10)
    codes = shape_codes((left, right))

    assert codes[32, 16] == SHAPE_CODES["star"]
    assert codes[32, 48] == SHAPE_CODES["circle"]
    assert codes[2, 2] == codes[60, 60] == 0


@pytest.mark.parametrize(("place", "opposite"), [("right", "left"), ("below", "above")])
def test_labels_follow_the_picture_and_not_the_words(place: str, opposite: str) -> None:
    first, second = Thing("star", "red", "small"), Thing("ring", "blue", "large")

    assert labels(Scene((first, second), "white", place)) == labels(Scene((second, first), "white", opposite))
    assert labels(Scene((first, second), "white", place)) != labels(Scene((first, second), "white", opposite))


@pytest.mark.slow
def test_a_few_steps_of_training_learn_and_end_in_a_checkpoint_that_converts(tmp_path: Path) -> None:
    from farm.catalogue import Catalogue
    from farm.cli.convert import convert

    lines: list[str] = []
    plan = Plan(
        text_steps=200,
        denoise_steps=100,
        decoder_steps=100,
        encoder_steps=100,
        text_batch=16,
        denoise_batch=8,
        picture_batch=4,
    )
    train(tmp_path / "checkpoint", plan, seed=1, tell=lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines if "loss" in line]
    text_losses = losses[:2]
    assert len(losses) == 5
    assert all(later < earlier for earlier, later in itertools.pairwise(text_losses))

    options = ["--out", str(tmp_path / "models" / "young"), "--attention", "original"]
    result = CliRunner().invoke(convert, [str(tmp_path / "checkpoint"), *options])
    assert result.exit_code == 0, result.output
    (model,) = Catalogue([tmp_path / "models"], tmp_path / "digests.json").models()
    assert (model.name, model.defaults.width) == ("young", 64)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    plan = Plan(2, 2, 2, 2, text_batch=2, denoise_batch=2, picture_batch=2)
    weights = []
    for name in ("first", "second"):
        train(tmp_path / name, plan, seed=7, tell=lambda _: None)
        weights.append((tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors").read_bytes())

    assert weights[0] == weights[1]
