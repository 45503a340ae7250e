"""What went wrong with a job's images and on whom it is blamed, as the state keeps it: plain data."""

from dataclasses import dataclass, field

from farm.domain import AttemptState


@dataclass(slots=True)
class Trouble:
    """What an image that is not settled has been through.

    Attributes:
        strikes: How often it failed by its own fault.
        crashes: How often the renderer died over it.
        workers: On which workers either happened, and how often on each.
        time: When it happened last.
    """

    strikes: int = 0
    crashes: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    time: float = 0.0


@dataclass(slots=True)
class Standing:
    """How a worker fares with a job of which it failed images.

    Attributes:
        in_a_row: Images it failed since it last brought one, or since one of them turned out to be at fault itself.
        blame: Failures of images that others rendered, less what its own images have made up for since.
        brought: Images it brought towards making up for the next one.
        time: When it failed last.
        aside: Why it gets nothing of the job any more; empty while it does.
    """

    in_a_row: int = 0
    blame: int = 0
    brought: int = 0
    time: float = 0.0
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """An attempt that ended without having settled its images.

    Attributes:
        time: When.
        number: Of the attempt.
        worker_id: Its worker.
        first_index: First image of its run.
        image_count: Images of its run.
        state: ABANDONED or CANCELLED.
        reason: Why, in words.
        refused: Images of it that its worker delivered when it no longer counted.
    """

    time: float
    number: int
    worker_id: str
    first_index: int
    image_count: int
    state: AttemptState
    reason: str
    refused: int = 0
