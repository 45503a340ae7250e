"""Rate groups: workers that are one to the scheduler, however many they are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from farm.domain import ComputeUnit, Resident, WorkerFacts
from farm.scheduler.plan import GroupKey, Way

DEPTH = 2
"""Attempts that a worker holds at most: what it renders and what comes next, so that it never waits for the next."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the index has an ACTIVE worker: its rate group, how many attempts it holds, and the kind of the newest."""

    group: GroupKey
    depth: int
    kind: int | None


@dataclass(slots=True)
class Group:
    """ACTIVE workers that are one to the scheduler: same sort of machine, same pace within 5 %, same variant loaded.

    Attributes:
        facts: Of one of them.
        pace: Logarithm of how much slower they are than their like.
        residents: What they will have loaded when they have rendered all that they hold.
        count: How many they are.
        vacant: Those that hold 0, 1, ... attempts, and take another one.
        occupied: How many hold an attempt, by the kind of their newest.
    """

    facts: WorkerFacts
    pace: float
    residents: tuple[Resident, ...]
    count: int = 0
    vacant: tuple[dict[str, None], ...] = field(default_factory=lambda: tuple({} for _ in range(DEPTH)))
    occupied: dict[int, int] = field(default_factory=dict)

    def seconds(self, way: Way) -> float:
        """What one image takes on one of them."""
        return way.seconds * math.exp(self.pace)

    def load_seconds(self, way: Way) -> float:
        """What one of them must spend on loading then; 0 where it has loaded just that."""
        return 0.0 if is_resident(self.residents, way.offer.digest, way.compute_unit) else way.load_seconds


def is_resident(residents: Iterable[Resident], digest: str, unit: ComputeUnit) -> bool:
    """Whether a variant is among what is loaded, for that very compute unit."""
    return any(one.digest == digest and one.compute_unit is unit for one in residents)
