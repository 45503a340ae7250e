"""Committed images of all jobs in the order in which they came, filtered; any place in the list is found at once.

A list is kept as the sequences of its commits, eight bytes an image, and grows by what came since it was asked for.
"""

from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from farm.coordinator import viewer
from farm.coordinator.storage import Storage
from farm.coordinator.views import ImageFilter, ImageView
from farm.domain import ImageState, JobSpec
from farm.scheduler.events import ImageCommitted

MAX_LISTS = 8
"""Lists that are kept, the last ones asked for."""

MAX_PAGE = 500


class Gallery:
    """Lists of committed images.

    Args:
        storage: Gives the images.
        spec_of: Gives the spec of a job.
    """

    def __init__(self, storage: Storage, spec_of: Callable[[str], Awaitable[JobSpec]]) -> None:
        self._storage = storage
        self._spec_of = spec_of
        self._lists: OrderedDict[ImageFilter, array[int]] = OrderedDict()

    def forget(self) -> None:
        """Has all lists made anew: images were deleted."""
        self._lists.clear()

    async def newest(self, limit: int) -> list[ImageCommitted]:
        """What was committed last, the oldest of it first."""
        return await self._storage.browse(self._storage.browser.last_commits, limit)

    def file(self, job_id: str, index: int, attempt_number: int) -> Path:
        """Where an attempt's file of an image is, or would be. The job must be one that there is."""
        return self._storage.artifacts.path(job_id, index, attempt_number)

    async def page(self, wanted: ImageFilter, first: int, count: int) -> tuple[int, list[ImageView | None]]:
        """A part of a list, the oldest image first.

        Args:
            wanted: Which images are in the list.
            first: Place of the first one that is asked for; negative ones count from the end.
            count: How many, `MAX_PAGE` at most.

        Returns:
            How many images the list has now, and those that were asked for; None for one that is not there any more.
        """
        known = self._lists.setdefault(wanted, array("q"))
        self._lists.move_to_end(wanted)
        while len(self._lists) > MAX_LISTS:
            self._lists.popitem(last=False)
        fresh = await self._storage.browse(self._storage.browser.commits, wanted, known[-1] if known else 0)
        known.extend(sequence for sequence in fresh if not known or sequence > known[-1])
        start = max(0, len(known) + first if first < 0 else first)
        chosen = known[start : start + min(count, MAX_PAGE)]
        rows = await self._storage.browse(self._storage.browser.committed_at, chosen)
        found = {}
        for job_id, row in rows:
            spec = await self._spec_of(job_id)
            found[row.sequence] = viewer.image_view(job_id, spec, row, ImageState.SUCCEEDED)
        return len(known), [found.get(sequence) for sequence in chosen]
