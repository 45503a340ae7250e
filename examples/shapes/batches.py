"""Training examples, drawn as they are needed: pictures, captions, latents and labels.

The latents are made by rule, not by an encoder: three channels are the mean colour of each cell of 8 x 8 pixels, the
fourth tells the shape of the thing that is there. (An autoencoder of this size that is trained in the usual way blurs
shapes and mixes up colours.) The decoder learns to draw from them, the encoder to find them, the UNet to make them up.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.shapes.captions import write_caption
from examples.shapes.scenes import (
    COLORS,
    PLACES_ALONE,
    PLACES_IN_PAIR,
    SHAPES,
    SIDE,
    SIZES,
    THING_COLORS,
    Placed,
    Scene,
    arrange,
    draw,
    random_scene,
)

CELL = 8
PAIR_SHARE = 0.55
SHAPE_CODES = dict(zip(SHAPES, (-2.0, -1.25, -0.5, 0.5, 1.25, 2.0), strict=True))
CODE_MARGIN = 3.5
"""A shape's code reaches this many pixels beyond its radius, so that small shapes fill whole cells."""

LABEL_SIZES = (
    len(COLORS),
    *(len(THING_COLORS), len(SHAPES), len(SIZES)),
    *(len(THING_COLORS) + 1, len(SHAPES) + 1, len(SIZES) + 1),
    len(PLACES_ALONE) + len(PLACES_IN_PAIR),
)
"""Number of answers to each question about a scene; those about the second thing can be answered "there is none"."""

Tokenize = Callable[[list[str]], Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """Training examples.

    Attributes:
        pixels: (B, 3, 64, 64) in [-1, 1].
        latents: (B, 4, 8, 8), not scaled.
        tokens: (B, 77).
        labels: (B, 8), an answer to each question of `LABEL_SIZES`.
    """

    pixels: Tensor
    latents: Tensor
    tokens: Tensor
    labels: Tensor


def random_batch(size: int, rng: random.Random, tokenize: Tokenize) -> Batch:
    """Draws training examples."""
    scenes = [random_scene(rng, 2 if rng.random() < PAIR_SHARE else 1) for _ in range(size)]
    arrangements = [arrange(scene, rng) for scene in scenes]
    pictures = np.stack([draw(scene, placed, rng) for scene, placed in zip(scenes, arrangements, strict=True)])
    pixels = pictures.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    codes = np.stack([shape_codes(placed) for placed in arrangements])
    latents = np.concatenate([_cell_means(pixels), _cell_means(codes[:, None])], axis=1)
    return Batch(
        pixels=torch.from_numpy(pixels),
        latents=torch.from_numpy(latents),
        tokens=tokenize([write_caption(scene, rng) for scene in scenes]),
        labels=torch.tensor([labels(scene) for scene in scenes]),
    )


def shape_codes(placed: tuple[Placed, ...]) -> NDArray[np.float32]:
    """The code of the nearest thing's shape over a disc around it, 0 elsewhere: (64, 64)."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5
    distances = np.stack([np.hypot(columns - item.x, rows - item.y) for item in placed])
    covers = [
        np.clip(item.radius + CODE_MARGIN - distance, 0, 1) * SHAPE_CODES[item.thing.shape]
        for item, distance in zip(placed, distances, strict=True)
    ]
    codes: NDArray[np.float32] = np.choose(distances.argmin(axis=0), covers).astype(np.float32)
    return codes


def labels(scene: Scene) -> tuple[int, ...]:
    """What the text encoder is asked of a caption, the things in the order of the picture.

    In the order of the words the encoder need not understand "right of", and the finished model then puts two things in
    the right order only by chance.
    """
    if scene.place in ("right", "below") and len(scene.things) == 2:
        scene = replace(scene, things=scene.things[::-1], place={"right": "left", "below": "above"}[scene.place])
    first = scene.things[0]
    answers = [
        list(COLORS).index(scene.background),
        THING_COLORS.index(first.color),
        SHAPES.index(first.shape),
        SIZES.index(first.size),
    ]
    if len(scene.things) == 1:
        return *answers, 0, 0, 0, PLACES_ALONE.index(scene.place)
    second = scene.things[1]
    return (
        *answers,
        THING_COLORS.index(second.color) + 1,
        SHAPES.index(second.shape) + 1,
        SIZES.index(second.size) + 1,
        len(PLACES_ALONE) + PLACES_IN_PAIR.index(scene.place),
    )


def _cell_means(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    batch, channels, height, width = maps.shape
    cells = maps.reshape(batch, channels, height // CELL, CELL, width // CELL, CELL)
    means: NDArray[np.float32] = cells.mean(axis=(3, 5))
    return means
