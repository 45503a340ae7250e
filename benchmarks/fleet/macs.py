"""The simulated Macs of the fleet, what happens to one of them, and the best that anybody could make of it.

Eight Macs of four chips; their seconds an image are those that users publish of Stable Diffusion at 512x512 (M1 35 s,
M2 23 s, M1 Ultra 9 s, M3 Ultra 2.7 s), forty times quicker. A render sleeps, step by step, so that a Mac that slows
down in the middle of an image slows down at once.
"""

import enum
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TIME_SCALE = 40.0
SECONDS = {"Apple M1": 35.0, "Apple M2": 23.0, "Apple M1 Ultra": 9.0, "Apple M3 Ultra": 2.7}
STEPS = 20
NOISE = 0.03
"""How far an image's time is off at most, evenly spread."""

IMAGE_BYTES = 50_000
IMAGES = 400
STRAGGLING = 10.0
FAULT_AT = 0.5
"""Part of the ideal makespan after which it happens."""


class Fault(enum.Enum):
    """What happens to one Mac at half time."""

    NONE = "none"
    KILL = "kill"
    STRAGGLER = "straggler"


@dataclass(frozen=True, slots=True)
class Mac:
    """One simulated Mac: `seconds` is what an image takes on it, in scaled time."""

    name: str
    chip: str
    seconds: float


FLEET = tuple(
    Mac(f"mac-{number}", chip, SECONDS[chip] / TIME_SCALE)
    for number, chip in enumerate(
        (
            "Apple M1",
            "Apple M1",
            "Apple M1",
            "Apple M2",
            "Apple M2",
            "Apple M1 Ultra",
            "Apple M1 Ultra",
            "Apple M3 Ultra",
        )
    )
)
VICTIM = FLEET[5]


def slowness(mac: Mac, slow_from: Path) -> Callable[[], float]:
    """How many times longer than usual a Mac takes, asked at each step of its images.

    Args:
        mac: Which one.
        slow_from: A file that holds, once it is there, the time since the epoch from which on the victim straggles.
    """
    chance = random.Random(mac.name)
    step, noise, since = 0, 1.0, math.inf

    def ask() -> float:
        nonlocal step, noise, since
        if step % STEPS == 0:
            noise = 1.0 + chance.uniform(-NOISE, NOISE)
        step += 1
        if mac == VICTIM and since == math.inf and slow_from.exists():
            since = float(slow_from.read_text())
        return noise * (STRAGGLING if time.time() >= since else 1.0)

    return ask


def announce_straggling(slow_from: Path, since: float) -> None:
    """Has the victim straggle from a time on."""
    whole = slow_from.with_suffix(".new")
    whole.write_text(str(since))
    whole.rename(slow_from)


class Sleeper:
    """Renders by sleeping, for those that call a function an image."""

    def __init__(self, mac: Mac, slow_from: Path) -> None:
        self._mac = mac
        self._slowness = slowness(mac, slow_from)
        self._image = os.urandom(IMAGE_BYTES)

    def render(self) -> bytes:
        """One image."""
        due = time.monotonic()
        for _ in range(STEPS):
            due += self._slowness() * self._mac.seconds / STEPS
            time.sleep(max(0.0, due - time.monotonic()))
        return self._image


def ideal_seconds(images: int, macs: Sequence[Mac] = FLEET) -> float:
    """The least makespan if images were divisible."""
    return images / sum(1.0 / mac.seconds for mac in macs)


def bound_seconds(images: int, fault: Fault) -> float:
    """The same for those who know beforehand what happens at half time."""
    ideal = ideal_seconds(images)
    if fault is Fault.NONE:
        return ideal
    rate = sum(1.0 / mac.seconds for mac in FLEET)
    lost = 1.0 / VICTIM.seconds * (1.0 if fault is Fault.KILL else 1.0 - 1.0 / STRAGGLING)
    return FAULT_AT * ideal + (1.0 - FAULT_AT) * images / (rate - lost)


def images_by(mac: Mac, until: float, fault: Fault, fault_time: float) -> int:
    """Images that a Mac can finish within a time from its start, without noise."""
    if mac != VICTIM or fault is Fault.NONE or until <= fault_time:
        return int(until / mac.seconds)
    if fault is Fault.KILL:
        return int(fault_time / mac.seconds)
    return int((fault_time + (until - fault_time) / STRAGGLING) / mac.seconds)


def perfect_split(images: int, fault: Fault) -> dict[str, int]:
    """How many images each Mac gets from one who knows all that will happen: the least makespan in whole images."""
    fault_time = FAULT_AT * ideal_seconds(images)
    low, high = 0.0, images * max(mac.seconds for mac in FLEET)
    for _ in range(60):
        middle = (low + high) / 2
        done = sum(images_by(mac, middle, fault, fault_time) for mac in FLEET)
        low, high = (low, middle) if done >= images else (middle, high)
    split = {mac.name: images_by(mac, high, fault, fault_time) for mac in FLEET}
    split[FLEET[0].name] -= sum(split.values()) - images
    return split
