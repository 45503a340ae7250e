"""What is known of how long an image takes, per worker and model variant: learned from what was committed."""

from dataclasses import dataclass, field

WEIGHT = 0.2
"""Weight of the newest image in the running figures: a Mac that slows by heat is priced as it is now, within about ten
images."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds an image takes.

    Attributes:
        seconds: Exponentially weighted mean.
        deviation: Exponentially weighted mean of the absolute differences from it.
        image_count: Images it was learned from.
    """

    seconds: float
    deviation: float
    image_count: int


@dataclass(slots=True)
class Rates:
    """Estimates by worker and model digest."""

    estimates: dict[tuple[str, str], Estimate] = field(default_factory=dict)

    def learn(self, worker_id: str, model_digest: str, seconds: float) -> None:
        """Takes one image's render time into account."""
        old = self.estimates.get((worker_id, model_digest))
        if old is None:
            new = Estimate(seconds, seconds / 4, 1)
        else:
            error = seconds - old.seconds
            new = Estimate(
                seconds=old.seconds + WEIGHT * error,
                deviation=old.deviation + WEIGHT * (abs(error) - old.deviation),
                image_count=old.image_count + 1,
            )
        self.estimates[worker_id, model_digest] = new

    def estimate(self, worker_id: str, model_digest: str) -> Estimate | None:
        """What is known; None before the first image."""
        return self.estimates.get((worker_id, model_digest))
