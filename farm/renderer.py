"""What a renderer is: the protocol between whatever renders on a machine and whatever gives it work."""

from collections.abc import Callable, Sequence
from typing import Protocol

from farm.domain import Assignment, AttemptKey, Model, WorkerFacts
from farm.reports import Report


class Renderer(Protocol):
    """What renders on a machine: its pipeline, or a stand-in. The command line hands it to whatever drives it."""

    @property
    def facts(self) -> WorkerFacts:
        """What this machine is; known once it was started."""

    def start(self, report: Callable[[Report], None]) -> None:
        """Starts; may take a second. `report` is called from a thread of the renderer's."""

    def render(self, assignment: Assignment) -> None:
        """Takes images to be rendered, behind those it has."""

    def cancel(self, key: AttemptKey) -> None:
        """Stops an attempt at its next step; it then ends as CANCELLED."""

    def release(self, key: AttemptKey, reason: str = "") -> None:
        """Finishes the image that is being rendered and ends the attempt as ABANDONED, for that reason."""

    def offer(self, models: Sequence[Model]) -> None:
        """Has it render with these models from now on; a `FactsReport` tells if that changes what it can do."""

    def stop(self) -> None:
        """Ends it, within a few seconds."""
