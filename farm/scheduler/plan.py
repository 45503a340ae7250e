"""What is planned for all live jobs and rate groups together: plain data, made by `planning`, followed by `pull`."""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.domain import AttemptKey, ComputeUnit, ModelOffer

GroupKey = tuple[int, float, int]
"""Names a rate group: sort of machine, pace, number of what it will have loaded."""


@dataclass(frozen=True, slots=True)
class Way:
    """With what machines of one sort render jobs of one kind, and what that costs at pace 0.

    Attributes:
        offer: The model variant.
        compute_unit: The processors.
        seconds: Of one image.
        load_seconds: Of loading the variant where it is not resident, compilation included if that is still to come.
        deviation: How sure `seconds` is, as a relative standard deviation.
    """

    offer: ModelOffer
    compute_unit: ComputeUnit
    seconds: float
    load_seconds: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs of one kind and priority that wait, by submitter, each submitter's in their order."""

    kind: int
    jobs: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Level:
    """The jobs of one priority, and which group works on which kind of them.

    Attributes:
        priority: Of these jobs, age included.
        queues: By kind.
        shares: By group, then kind: part of the group's time.
        prices: By kind: what one more image costs the farm as a whole, in the time of its last image (the dual of the
            LP). What a group is best at is the kind with the most price for its seconds.
        rates: By kind: images a second over all groups, once their models are loaded.
        surplus: By kind: seconds by which its images take longer than by these rates, as models must be loaded first
            and no image is shared by two workers.
    """

    priority: int
    queues: Mapping[int, Queue]
    shares: Mapping[GroupKey, Mapping[int, float]]
    prices: Mapping[int, float]
    rates: Mapping[int, float]
    surplus: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Late:
    """A running task that another worker could bring in earlier.

    Attributes:
        finish: When its quickest attempt is thought to end.
        key: That attempt.
        kind: Its job's.
        newest: Number of its newest attempt.
    """

    finish: float
    key: AttemptKey
    kind: int
    newest: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes:
        time: When it was made.
        interval: Seconds until the next may be made: what costs more to solve is solved less often.
        levels: Highest priority first.
        ways: By sort of machine and kind; a pair that is not here does not fit.
        late: Running tasks, the one that ends last first; only where workers are idle.
        ends: When each job that waits or runs is thought to end, before any margin.
        served: What each submitter that takes part, with a job that runs or could, has had or is taken to have had.
    """

    time: float
    interval: float
    levels: tuple[Level, ...]
    ways: Mapping[tuple[int, int], Way]
    late: tuple[Late, ...]
    ends: Mapping[str, float]
    served: Mapping[str, float]
