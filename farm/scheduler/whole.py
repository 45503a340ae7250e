"""How long whole images take: what a fluid leaves out, as no image is shared by two workers and models must be loaded.

A rate says that eight workers of eight seconds an image bring one in a second; the first of a job takes them eight. For
jobs of few images on many machines that is most of their time.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

PRECISION = 1e-3
"""Relative error of a least time."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers that render a kind of image alike.

    Attributes:
        count: How many they are.
        load_seconds: What each spends before its first image.
        image_seconds: What each takes for an image.
    """

    count: int
    load_seconds: float
    image_seconds: float


def least_seconds(crews: Collection[Crew], images: int) -> float:
    """The least time in which workers that have nothing else to do bring in so many images, at least one."""
    low = images / _rate(crews)
    high = low + max(crew.load_seconds + crew.image_seconds for crew in crews)
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _done(crews, middle) >= images else (middle, high)
    return high


def surplus_seconds(crews: Collection[Crew], images: int) -> float:
    """How much longer that is than the rate of all of them says."""
    return least_seconds(crews, images) - images / _rate(crews)


def _rate(crews: Collection[Crew]) -> float:
    return sum(crew.count / crew.image_seconds for crew in crews)


def _done(crews: Collection[Crew], seconds: float) -> int:
    left = ((crew, seconds - crew.load_seconds) for crew in crews)
    return sum(crew.count * math.floor(time / crew.image_seconds) for crew, time in left if time > 0)
