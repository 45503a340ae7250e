"""What a renderer has to do, in order, and what of it is no longer wanted."""

from collections import deque
from collections.abc import Callable

from farm.domain import Assignment, AttemptKey
from farm.reports import AttemptReport
from farm.worker.messages import Order, Stop, Withdraw


class WithdrawnError(Exception):
    """The attempt that is being rendered is no longer wanted; `end` is how it ends."""

    def __init__(self, end: AttemptReport) -> None:
        super().__init__(end.reason)
        self.end = end


class StoppedError(Exception):
    """The renderer is to end."""


class Worklist:
    """Assignments in the order in which they came, the first of which is being rendered. Not for two threads.

    Args:
        end: Called with the end of an attempt that is withdrawn before its turn.
    """

    def __init__(self, end: Callable[[AttemptReport], None]) -> None:
        self._end = end
        self._waiting: deque[Assignment] = deque()
        self._current: AttemptKey | None = None
        self._withdrawal: Withdraw | None = None

    def take(self, order: Order) -> None:
        """Notes what was ordered.

        Raises:
            StoppedError: That was to stop.
        """
        match order:
            case Assignment():
                self._waiting.append(order)
            case Withdraw(key) if key == self._current:
                if self._withdrawal is None or self._withdrawal.finish_image:  # the stricter order stands
                    self._withdrawal = order
            case Withdraw(key):
                kept = deque(assignment for assignment in self._waiting if assignment.key != key)
                if len(kept) < len(self._waiting):
                    self._waiting = kept
                    self._end(_end(order))
            case Stop():
                raise StoppedError

    @property
    def is_waiting(self) -> bool:
        """Whether there is an assignment to begin."""
        return bool(self._waiting)

    def next(self) -> Assignment | None:
        """Begins the next assignment and ends the last; None if there is nothing to do."""
        assignment = self._waiting.popleft() if self._waiting else None
        self._current = assignment.key if assignment else None
        self._withdrawal = None
        return assignment

    def check(self, *, between_images: bool) -> None:
        """Called between steps and between images.

        Raises:
            WithdrawnError: The current attempt ends here.
        """
        if self._withdrawal is not None and (between_images or not self._withdrawal.finish_image):
            raise WithdrawnError(_end(self._withdrawal))


def _end(order: Withdraw) -> AttemptReport:
    return AttemptReport(order.key, order.state, order.reason)
