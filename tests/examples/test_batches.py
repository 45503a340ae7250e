"""The batches that come with the farm are in its formats, and in what its model understands."""

import csv
import dataclasses
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import examples
from examples.shapes.captions import read_caption
from examples.shapes.checker import check
from farm.catalogue import Catalogue
from farm.diffusion.pipeline import Pipeline
from farm.domain import AttentionVariant, ComputeUnit, ImageSpec, RenderSpec, resolve
from farm.runtime.portable import PortableRuntime

EXAMPLES = Path(examples.__file__).parent
FIELDS = {field.name for field in dataclasses.fields(ImageSpec)}


def sample_batch() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "prompts.jsonl").read_text().splitlines()]


def test_the_sample_batch_is_varied_and_in_the_grammar() -> None:
    entries = sample_batch()

    assert len(entries) >= 24
    assert all(entry.keys() <= FIELDS for entry in entries)
    scenes = [read_caption(entry["prompt"]) for entry in entries]
    assert len(set(scenes)) == len(scenes)
    assert {thing.shape for scene in scenes for thing in scene.things} == {
        "circle", "square", "triangle", "star", "ring", "cross",
    }  # fmt: skip
    assert len({scene.background for scene in scenes}) >= 8


def test_the_other_batches_use_the_names_of_image_fields() -> None:
    with (EXAMPLES / "sampler-sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stars = (EXAMPLES / "stars.txt").read_text().splitlines()

    assert len(rows) == 12
    assert rows[0].keys() <= FIELDS
    for prompt in [*(row["prompt"] for row in rows), *stars]:
        assert read_caption(prompt).things[0].shape == "star"


@pytest.mark.slow
@pytest.mark.parametrize("attention", [AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM])
def test_every_picture_of_the_sample_batch_shows_what_its_prompt_says(
    tmp_path: Path, attention: AttentionVariant
) -> None:
    model = Catalogue(cache=tmp_path / "digests.json").get("shapes")
    (variant,) = (variant for variant in model.variants if variant.attention is attention)
    pipeline = Pipeline.load(variant, PortableRuntime(), ComputeUnit.CPU_ONLY)

    wrong = []
    for index, entry in enumerate(sample_batch()):
        spec = resolve(ImageSpec(**entry), model.defaults, index)
        if not check(read_caption(spec.prompt), finished(pipeline, spec)).all:
            wrong.append(spec.prompt)
    assert wrong == []


def finished(pipeline: Pipeline, spec: RenderSpec) -> Any:
    steps: Generator[Any, None, Any] = pipeline.render(spec)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value.pixels
