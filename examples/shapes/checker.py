"""Tells by pixels whether a picture shows what its caption says. Nothing in it is learned.

The background is what the picture's border shows. What differs from it falls into connected patches; each is brought to
one size and compared with drawn templates of the shapes. The checker finds nothing wrong with pictures that `scenes`
draws, so what it finds wrong with a model's pictures is the model's fault.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from examples.shapes.scenes import COLORS, SHAPES, SIDE, Pixels, Scene, shape_mask

BORDER = 2
BACKGROUND_DISTANCE = 38.0
"""Pixels further from the background than this, in RGB, belong to a thing."""

MIN_AREA = 25
"""Patches of fewer pixels are specks."""

TEMPLATE_SIDE = 48
MIN_OFFSET, MAX_DRIFT, MAX_DRIFT_CENTER, MIN_GAP = 5.0, 10.0, 8.0, 12.0
"""Pixels: off the centre to be at a side; off the axis then; off the centre when in the centre; between two things."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """A thing that was found in a picture; places in pixels from the top left corner."""

    shape: str
    color: str
    x: float
    y: float
    area: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which parts of a scene a picture shows rightly.

    Attributes:
        background: Its colour.
        count: The number of things.
        colors: Of all things, each in its place.
        shapes: Of all things, each in its place.
        place: Where the thing is, or how the two lie to each other.
    """

    background: bool
    count: bool
    colors: bool
    shapes: bool
    place: bool

    @property
    def all(self) -> bool:
        """Whether nothing is wrong."""
        return self.background and self.count and self.colors and self.shapes and self.place


def check(scene: Scene, pixels: Pixels) -> Verdict:
    """Compares a picture (64, 64, 3) with the scene that it should show."""
    background, things = analyse(pixels)
    largest = things[: len(scene.things)]
    along, across = ("y", "x") if scene.place in ("above", "below", "top", "bottom") else ("x", "y")
    in_order = sorted(largest, key=lambda thing: getattr(thing, along), reverse=scene.place in ("right", "below"))
    complete = len(in_order) == len(scene.things)
    pairs = list(zip(in_order, scene.things, strict=False))
    return Verdict(
        background=background == scene.background,
        count=len(things) == len(scene.things),
        colors=complete and all(found.color == thing.color for found, thing in pairs),
        shapes=complete and all(found.shape == thing.shape for found, thing in pairs),
        place=complete and (_lies_at(in_order[0], scene.place) if len(pairs) == 1 else _apart(in_order, along, across)),
    )


def analyse(pixels: Pixels) -> tuple[str, list[Found]]:
    """Finds the background's colour and the things on it, the largest first."""
    picture = pixels.astype(np.float32)
    rim = np.ones(picture.shape[:2], dtype=bool)
    rim[BORDER:-BORDER, BORDER:-BORDER] = False
    background = np.median(picture[rim], axis=0)
    differs = np.linalg.norm(picture - background, axis=-1) > BACKGROUND_DISTANCE
    things = [_describe(picture, patch, background) for patch in patches(differs)]
    return _nearest_color(background), sorted(things, key=lambda thing: thing.area, reverse=True)


def patches(mask: Mask) -> list[Mask]:
    """Connected parts of a mask, without specks; pixels connect by their sides."""
    canvas = Image.fromarray(mask.astype(np.uint8) * 255)
    found = []
    while (rest := np.argwhere(np.asarray(canvas) == 255)).size:
        row, column = rest[0].tolist()
        ImageDraw.floodfill(canvas, (column, row), 128)
        patch = np.asarray(canvas) == 128
        canvas.paste(0, mask=Image.fromarray(patch))
        if patch.sum() >= MIN_AREA:
            found.append(patch)
    return found


def _describe(picture: NDArray[np.float32], patch: Mask, background: NDArray[np.float32]) -> Found:
    color = np.median(picture[patch], axis=0)
    # A blurred edge is cut half way between the thing's colour and the background's.
    nearer = np.linalg.norm(picture - color, axis=-1) < np.linalg.norm(picture - background, axis=-1)
    body = patch & nearer
    rows, columns = np.nonzero(body)
    return Found(
        shape=_nearest_shape(body),
        color=_nearest_color(color),
        x=float(columns.min() + columns.max()) / 2,
        y=float(rows.min() + rows.max()) / 2,
        area=int(body.sum()),
    )


def _nearest_color(color: NDArray[np.float32]) -> str:
    return min(COLORS, key=lambda name: float(np.linalg.norm(np.subtract(COLORS[name], color))))


def _nearest_shape(body: Mask) -> str:
    normal = _normalised(body)
    return max(SHAPES, key=lambda shape: _overlap(normal, _template(shape)))


def _overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


@functools.cache
def _template(shape: str) -> Mask:
    side = 2 * SIDE
    return _normalised(np.asarray(shape_mask(shape, side / 2, side / 2, side / 3, side)) > 127)


def _normalised(body: Mask) -> Mask:
    """The mask's bounding box, stretched to one size."""
    rows, columns = np.nonzero(body)
    box = body[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    image = Image.fromarray(box.astype(np.uint8) * 255).resize(
        (TEMPLATE_SIDE, TEMPLATE_SIDE), Image.Resampling.BILINEAR
    )
    return np.asarray(image) > 127


def _lies_at(thing: Found, place: str) -> bool:
    dx, dy = thing.x - (SIDE - 1) / 2, thing.y - (SIDE - 1) / 2
    if place == "center":
        return max(abs(dx), abs(dy)) < MAX_DRIFT_CENTER
    offset, drift = {"left": (-dx, dy), "right": (dx, dy), "top": (-dy, dx), "bottom": (dy, dx)}[place]
    return offset > MIN_OFFSET and abs(drift) < MAX_DRIFT


def _apart(things: list[Found], along: str, across: str) -> bool:
    first, second = things
    gap: float = abs(getattr(first, along) - getattr(second, along))
    drift: float = abs(getattr(first, across) - getattr(second, across))
    return gap > max(MIN_GAP, drift)
