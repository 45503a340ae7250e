"""The world of the shapes model: what can be in a picture, and how it is drawn.

A scene is what a caption can tell; an arrangement adds what it cannot: exact places, radii and shades.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 64
"""Height and width of a picture in pixels."""

SUPERSAMPLING = 3
SHADE = 5
"""Each colour channel varies by up to this much, so that the model cannot learn single values."""

COLORS = {
    "red": (220, 38, 38),
    "orange": (247, 140, 28),
    "yellow": (250, 218, 50),
    "green": (46, 160, 67),
    "blue": (40, 84, 214),
    "purple": (138, 58, 186),
    "white": (248, 248, 248),
    "black": (24, 24, 28),
    "gray": (140, 140, 145),
}
THING_COLORS = tuple(color for color in COLORS if color != "gray")
UNTOLD_BACKGROUNDS = ("white", "black", "gray")
"""A caption that names no background means the first of these that no thing in it has."""

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
SIZES = ("small", "medium", "large")
RADII_ALONE = {"small": (8.0, 9.5), "medium": (12.0, 15.0), "large": (18.0, 21.5)}
RADII_IN_PAIR = {"small": (8.0, 9.0), "medium": (10.5, 12.0), "large": (13.0, 14.0)}

PLACES_ALONE = ("center", "left", "right", "top", "bottom")
PLACES_IN_PAIR = ("left", "right", "above", "below")

Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Thing:
    """A coloured shape, in words."""

    shape: str
    color: str
    size: str = "medium"


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two things on a background.

    Attributes:
        things: In the order in which a caption names them.
        background: Its colour.
        place: Of one thing, one of `PLACES_ALONE`; of two, where the first is as seen from the second.
        background_told: Whether a caption names the background.
    """

    things: tuple[Thing, ...]
    background: str
    place: str
    background_told: bool = True


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing where it is drawn, in pixels from the top left corner.

    Attributes:
        thing: The thing.
        x: Of its centre.
        y: Of its centre.
        radius: Half of its height, about.
    """

    thing: Thing
    x: float
    y: float
    radius: float


def untold_background(things: tuple[Thing, ...]) -> str:
    """The background that a caption means when it names none."""
    used = {thing.color for thing in things}
    return next(color for color in UNTOLD_BACKGROUNDS if color not in used)


def random_scene(rng: random.Random, thing_count: int) -> Scene:
    """Draws a scene with one or two things; no thing has the colour of its background."""
    background = rng.choice(tuple(COLORS))
    colors = [color for color in THING_COLORS if color != background]
    things = tuple(
        Thing(rng.choice(SHAPES), rng.choice(colors), rng.choices(SIZES, weights=(1, 2, 1))[0])
        for _ in range(thing_count)
    )
    told = rng.random() < 0.8
    place = rng.choices(PLACES_ALONE, weights=(2, 1, 1, 1, 1))[0] if thing_count == 1 else rng.choice(PLACES_IN_PAIR)
    return Scene(things, background if told else untold_background(things), place, told)


def arrange(scene: Scene, rng: random.Random) -> tuple[Placed, ...]:
    """Draws places and radii that agree with a scene."""
    if len(scene.things) == 1:
        return (_arrange_one(scene, rng),)
    near, far = rng.uniform(14.5, 17), rng.uniform(47, 49.5)
    first, second = (near, far) if scene.place in ("left", "above") else (far, near)
    placed = []
    for thing, along in zip(scene.things, (first, second), strict=True):
        across = rng.uniform(29, 35)
        x, y = (along, across) if scene.place in ("left", "right") else (across, along)
        placed.append(Placed(thing, x, y, rng.uniform(*RADII_IN_PAIR[thing.size])))
    return tuple(placed)


def _arrange_one(scene: Scene, rng: random.Random) -> Placed:
    thing = scene.things[0]
    radius = rng.uniform(*RADII_ALONE[thing.size])
    x, y = rng.uniform(30, 34), rng.uniform(30, 34)
    near, far = rng.uniform(14, 18), rng.uniform(46, 50)
    x, y = {"center": (x, y), "left": (near, y), "right": (far, y), "top": (x, near), "bottom": (x, far)}[scene.place]
    margin = 1.04 * radius + 1
    return Placed(thing, _within(x, margin), _within(y, margin), radius)


def draw(scene: Scene, placed: tuple[Placed, ...], rng: random.Random) -> Pixels:
    """Draws a scene, each colour in a shade of its own: (64, 64, 3)."""
    picture = Image.new("RGB", (SIDE, SIDE), _shade(scene.background, rng))
    for item in placed:
        colored = Image.new("RGB", (SIDE, SIDE), _shade(item.thing.color, rng))
        picture.paste(colored, (0, 0), shape_mask(item.thing.shape, item.x, item.y, item.radius, SIDE))
    return np.asarray(picture)


def shape_mask(shape: str, x: float, y: float, radius: float, side: int) -> Image.Image:
    """How much of each pixel of a picture `side` wide and high a shape covers, 0 to 255."""
    mask = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING), 0)
    pen = ImageDraw.Draw(mask)
    x, y, radius = x * SUPERSAMPLING, y * SUPERSAMPLING, radius * SUPERSAMPLING
    if shape in ("circle", "ring"):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if shape == "ring":
            hole = 0.55 * radius
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        pen.polygon([(x + radius * dx, y + radius * dy) for dx, dy in OUTLINES[shape]], fill=255)
    return mask.reduce(SUPERSAMPLING)


def _star() -> tuple[tuple[float, float], ...]:
    lengths = (1.08, 0.45) * 5
    angles = [math.pi * (corner / 5 - 0.5) for corner in range(10)]
    return tuple((length * math.cos(a), length * math.sin(a)) for length, a in zip(lengths, angles, strict=True))


def _cross(arm: float, half_width: float) -> tuple[tuple[float, float], ...]:
    quarter = [(half_width, -arm), (half_width, -half_width), (arm, -half_width)]
    corners = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return tuple(corners)


OUTLINES = {
    "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    "triangle": ((0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)),
    "star": _star(),
    "cross": _cross(arm=0.95, half_width=0.32),
}
"""Corners of the angular shapes, in radii from the centre."""


def _within(position: float, margin: float) -> float:
    return min(max(position, margin), SIDE - margin)


def _shade(color: str, rng: random.Random) -> Color:
    red, green, blue = (min(max(channel + rng.randint(-SHADE, SHADE), 0), 255) for channel in COLORS[color])
    return red, green, blue
