"""What other tools wait for at this moment, and what they chose for their next requests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from farm.coordinator.views import ImageView, JobView, ProgressView, WatchEvent


@dataclass(slots=True, eq=False)
class Order:
    """A job that somebody waits for.

    Attributes:
        source: The interface that it came by.
        owner: Whose it is.
        job: The job as it is.
        steps: What its attempts are doing, by their numbers.
    """

    source: str
    owner: str
    job: JobView
    steps: dict[int, ProgressView] = field(default_factory=dict)

    def take(self, event: WatchEvent) -> None:
        """Takes what happened to the job."""
        match event.event:
            case JobView() as job:
                self.job = job
            case ProgressView() as progress:
                self.steps[progress.attempt_number] = progress
            case ImageView(index=index):
                self.steps = {number: step for number, step in self.steps.items() if step.index != index}

    @property
    def settled_count(self) -> int:
        """Images that succeeded or failed."""
        return self.job.succeeded_count + self.job.failed_count

    @property
    def fraction(self) -> float:
        """How much of it is done, from 0 to 1, with the steps of images that are being rendered."""
        moving = sum(step.step / step.step_count for step in self.steps.values() if step.step_count)
        return min(1.0, (self.settled_count + moving) / self.job.image_count)


class OpenOrders:
    """What is waited for now, and what callers chose for their next requests; kept while the server runs."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self.chosen_models: dict[str, str] = {}
        """Name of the model by its caller, for interfaces that choose it beforehand."""

    @contextmanager
    def showing(self, order: Order) -> Iterator[Order]:
        """Lists an order until the context ends."""
        self._orders.append(order)
        try:
            yield order
        finally:
            self._orders.remove(order)

    def of(self, owner: str, source: str) -> Sequence[Order]:
        """Orders of a caller by one interface, the oldest first."""
        return [order for order in self._orders if (order.owner, order.source) == (owner, source)]
