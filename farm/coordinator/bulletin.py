"""Tells those who watch a job that something happened to it, without keeping anything for them.

A watcher reads the images from the journal and the rest from the state, at its own pace; all that is pushed is "look
again". So a slow reader costs nothing and misses no image.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from farm.coordinator.loop import Happened
from farm.coordinator.viewer import attempt_view
from farm.coordinator.views import AttemptView
from farm.scheduler import events as ev

MAX_ATTEMPTS = 1000
"""Attempts that are kept for a watcher who does not read; beyond it the oldest are left out."""


@dataclass(eq=False, slots=True)
class News:
    """What a watcher of one job is told.

    Attributes:
        changed: Set when there is something to look at.
        ended: Set when the job has ended, which nobody should wait for.
        attempts: Attempts that began or ended, and results that were refused.
    """

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: deque[AttemptView] = field(default_factory=lambda: deque(maxlen=MAX_ATTEMPTS))


class Bulletin:
    """Knows who watches what; observes the loop."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[News]] = {}

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[News]:
        """Gives news of a job until the context ends."""
        news = News()
        self._watchers.setdefault(job_id, set()).add(news)
        try:
            yield news
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(news)
            if not watchers:
                del self._watchers[job_id]

    def publish(self, happened: Sequence[Happened]) -> None:
        """Tells the watchers of each job that was touched."""
        for _, event in happened:
            attempt = attempt_view(event)
            for news in self._watchers.get(_job_id(event) or "", ()):
                news.changed.set()
                if isinstance(event, ev.JobEnded):
                    news.ended.set()
                if attempt is not None:
                    news.attempts.append(attempt)


def _job_id(event: ev.Event) -> str | None:
    if isinstance(event, ev.StageBegun | ev.StepDone):
        return event.key.job_id
    return getattr(event, "job_id", None)
