"""The coordinator: what the API calls, on top of the loop, the storage and the engine."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from farm.coordinator import event_log, viewer
from farm.coordinator.admission import PRIORITIES, Models, chosen_model, job_violations
from farm.coordinator.clock import Clock
from farm.coordinator.disk_guard import DiskGuard
from farm.coordinator.dispatcher import Dispatcher
from farm.coordinator.engine import Engine
from farm.coordinator.gallery import Gallery
from farm.coordinator.journal_reader import JobRow
from farm.coordinator.learned import Keeper
from farm.coordinator.loop import Change, Loop, Observer
from farm.coordinator.metering import Metering
from farm.coordinator.pending_webhooks import PendingWebhooks
from farm.coordinator.prewarming import Prewarming
from farm.coordinator.recovery import recover, reopened
from farm.coordinator.storage import Storage
from farm.coordinator.submission import Request, Submission
from farm.coordinator.views import Explanation, FarmView, ImageView, JobView, WatchEvent, WorkerView
from farm.coordinator.watch import Subscriptions, watch
from farm.domain import FINAL_STATES, SEED_LIMIT, ImageSpec, ImageState, JobSpec, JobState
from farm.errors import (
    DiskFullError,
    ImageNotFoundError,
    InvalidRequestError,
    JobNotFoundError,
    SubmissionUnderWayError,
    WorkerNotFoundError,
    WrongStateError,
)
from farm.metrics import BOTH, COORDINATOR, Meters, measure_process
from farm.scheduler import events as ev
from farm.scheduler.ranges import RangeSet
from farm.scheduler.state import FarmState

log = logging.getLogger(__name__)

PAGE = 500
"""Rows that are read from the journal at once."""


class Coordinator:
    """Takes jobs, has them rendered, and answers for them. Made by `open`; used on one event loop."""

    def __init__(self, storage: Storage, models: Models, state: FarmState, loop: Loop, metering: Metering) -> None:
        self._storage = storage
        self._models = models
        self._state = state
        self._loop = loop
        self._subscriptions = Subscriptions()
        self._arriving: set[str] = set()
        # Retrying and deleting a job that has ended read the journal first; one at a time, so they see each other.
        self._reviving = asyncio.Lock()
        self._disk = DiskGuard(loop, storage)
        self._keeper = Keeper(loop, storage)
        self._metering = metering
        self.meters = metering.meters
        self.gallery = Gallery(storage, self._spec_of)
        """All committed images, as lists."""
        self.pending_webhooks = PendingWebhooks(storage)
        """Ends of jobs that are yet to be told."""
        loop.observe(event_log.observe)
        loop.observe(metering.observe)
        loop.observe(self._subscriptions.publish)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, models: Models, engine: Engine, meters: Meters | None = None
    ) -> AsyncIterator[Self]:
        """Replays the journal of a state folder, starts the engine, and coordinates until the context ends.

        Args:
            folder: The state folder; made if it is not there.
            models: Knows the models.
            engine: Reaches the workers.
            meters: Where to count; its own if it shares them with nobody.

        Raises:
            JournalError: The folder cannot be used; or, out of the body of the context, the journal cannot be written
                any more.
        """
        storage = await asyncio.to_thread(Storage, folder)
        try:
            await storage.write(storage.tidy)
            clock = Clock()
            state = await recover(storage, clock)
            sequence = await storage.read(storage.reader.sequence)
            metering = Metering(meters or Meters((*BOTH, *COORDINATOR)), state)
            metering.meters.before_each(partial(measure_process, metering.meters, folder))
            loop = Loop(state, sequence, storage.journal, storage.writer_thread, clock, metering.committed_journal)
            coordinator = cls(storage, models, state, loop, metering)
            async with coordinator._working(engine):
                yield coordinator
        finally:
            await asyncio.to_thread(storage.close)

    @asynccontextmanager
    async def _working(self, engine: Engine) -> AsyncIterator[None]:
        async def read_entries(job_id: str, first_index: int, count: int) -> list[ImageSpec]:
            return await self._storage.read(self._storage.reader.entries, job_id, first_index, count)

        self._prewarming = prewarming = Prewarming(self._loop, self._state, engine)
        dispatcher = Dispatcher(self._loop, self._state, engine, self._storage.artifacts, prewarming, read_entries)
        self._loop.observe(dispatcher.act)
        try:
            async with asyncio.TaskGroup() as tasks:
                working = [tasks.create_task(part.run()) for part in (self._loop, dispatcher, self._disk, self._keeper)]
                await engine.start(dispatcher.receive)
                try:
                    yield
                    await self._keeper.keep(patience=2.0)
                finally:
                    # Attempts that are cut off here go on at the next start: their workers come back without them.
                    await engine.stop()
                    for task in working:
                        task.cancel()
        except BaseExceptionGroup as group:
            # The caller's own error comes out as it went in, and so does what ended the loop.
            raise group.exceptions[0] from None

    # Submitting

    async def open_submission(
        self, spec: JobSpec, submitter: str, request_id: str, entry_count: int | None
    ) -> Submission:
        """Begins a submission.

        Args:
            spec: The job; an empty model stands for the only one there is.
            submitter: Who submits.
            request_id: The client's own, which makes repeating harmless; empty for none.
            entry_count: How many entries are to come; None if that is not known.

        Raises:
            InvalidRequestError: Fields of the spec are wrong; names all.
            ModelNotFoundError: There is no such model.
            DiskFullError: There is no room for what it would make.
            SubmissionUnderWayError: The same request id is arriving on another call.
            InfeasibleJobError: Workers have joined, and none of them can ever render the job.
        """
        if (shortage := self._disk.shortage()) is not None:
            raise DiskFullError(shortage)
        model = await asyncio.to_thread(chosen_model, self._models, spec.model)
        spec = replace(spec, model=model.name)
        wrong = dict(job_violations(spec, model))
        if wrong:
            field, message = next(iter(wrong.items()))
            raise InvalidRequestError(f"{field} {message}. Nothing was submitted.", wrong)
        if request_id and request_id in self._arriving:
            raise SubmissionUnderWayError(
                f"A submission with request id {request_id} is arriving already. Wait until it is done, then send it "
                "again: if it was accepted you get its job.",
                request_id=request_id,
            )
        seed = ImageSpec(seed=secrets.randbelow(SEED_LIMIT))
        request = Request(
            job_id=f"{datetime.fromtimestamp(self._loop.now(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
            spec=spec,
            accepted_spec=replace(spec, defaults=spec.defaults.over(model.defaults).over(seed)),
            submitter=submitter,
            request_id=request_id,
            entry_count=entry_count,
        )
        return await Submission.open(request, model, self._loop, self._storage, self._arriving)

    # Looking

    async def job(self, job_id: str) -> JobView:
        """A job. Raises `JobNotFoundError` if there is none."""
        async with self._loop.reading() as (state, _):
            if job_id in state.jobs:
                return viewer.live_job_view(state, state.jobs[job_id], self._loop.now())
        # Not live: its end, if it just ended, is in the journal already.
        return viewer.ended_job_view(await self._row(job_id))

    async def jobs(
        self, states: frozenset[JobState], submitter: str | None, after: tuple[float, str] | None, limit: int
    ) -> list[JobView]:
        """Jobs, newest first.

        Args:
            states: Only in these states; all if empty.
            submitter: Only this submitter's; None for all.
            after: Create time and id of the last one of the page before.
            limit: At most this many.
        """
        wanted = states or frozenset(JobState)
        found: list[JobView] = []
        while len(found) < limit:
            rows = await self._storage.read(
                self._storage.reader.jobs, wanted & FINAL_STATES, submitter, after, max(limit, PAGE)
            )
            if not rows:
                break
            after = (rows[-1].create_time, rows[-1].job_id)
            views = [await self.job(row.job_id) if row.state is None else viewer.ended_job_view(row) for row in rows]
            found += [view for view in views if view.state in wanted]
        return found[:limit]

    async def images(self, job_id: str, states: frozenset[ImageState], after_index: int, limit: int) -> list[ImageView]:
        """Images of a job, by index.

        Args:
            job_id: The job.
            states: Only in these states; all if empty.
            after_index: Only with a larger index.
            limit: At most this many.

        Raises:
            JobNotFoundError: There is no such job.
        """
        job = await self._row(job_id)
        wanted = states or frozenset(ImageState)
        settled = wanted & {ImageState.SUCCEEDED, ImageState.FAILED}
        found: list[ImageView] = []
        while len(found) < limit:
            rows = await self._storage.read(
                self._storage.reader.images, job_id, settled, wanted != settled, after_index, max(limit, PAGE)
            )
            if not rows:
                break
            after_index = rows[-1].index
            async with self._loop.reading() as (state, _):
                views = [
                    viewer.image_view(job_id, job.spec, row, viewer.unsettled_state(state, job_id, row.index))
                    for row in rows
                ]
            found += [view for view in views if view.state in wanted]
        return found[:limit]

    async def image(self, job_id: str, index: int) -> ImageView:
        """One image. Raises `JobNotFoundError` or `ImageNotFoundError`."""
        images = await self.images(job_id, frozenset(), index - 1, 1)
        if not images or images[0].index != index:
            raise ImageNotFoundError(f"Job {job_id} has no image {index}.", job=job_id, image=str(index))
        return images[0]

    def artifact_path(self, image: ImageView) -> Path:
        """Where the file of a committed image is."""
        assert image.committed is not None, "only committed images have files"
        return self._storage.artifacts.path(image.job_id, image.index, image.committed.attempt_number)

    async def watch(self, job_id: str, after_sequence: int | None) -> AsyncIterator[WatchEvent]:
        """Follows a job until it ends; `farm.coordinator.watch` says how.

        Raises:
            JobNotFoundError: There is no such job.
        """
        await self._row(job_id)
        async for event in watch(self, job_id, after_sequence, self._subscriptions, self._loop, self._storage):
            yield event

    async def workers(self) -> list[WorkerView]:
        """Every worker that ever joined since this coordinator started, by name."""
        async with self._loop.reading() as (state, _):
            views = [viewer.worker_view(state, worker) for worker in state.workers.values()]
        return sorted((view for view in views if view is not None), key=lambda view: view.worker_id)

    async def worker(self, worker_id: str) -> WorkerView:
        """One worker. Raises `WorkerNotFoundError` if it never joined."""
        for view in await self.workers():
            if view.worker_id == worker_id:
                return view
        raise WorkerNotFoundError(
            f'No worker "{worker_id}" has joined. `farm workers` lists those that have.', worker=worker_id
        )

    async def farm(self, job_limit: int, watched: Collection[str] = ()) -> FarmView:
        """Workers, what they render, `job_limit` live jobs and as many of each submitter `watched`, at one moment."""
        async with self._loop.reading() as (state, _):
            return viewer.farm_view(state, self._loop.now(), job_limit, watched)

    def observe(self, observer: Observer) -> None:
        """Has `observer` told, after each turn of the loop, what happened in it."""
        self._loop.observe(observer)

    def now(self) -> float:
        """Seconds since the epoch, by the clock that stamps events."""
        return self._loop.now()

    async def explain(self, job_id: str) -> Explanation:
        """Why a job runs, or does not run, on each worker, and what was lost. Raises `JobNotFoundError`."""
        async with self._loop.reading() as (state, _):
            live = state.jobs.get(job_id)
            if live is not None:
                return viewer.explanation(state, live, self._loop.now())
        return viewer.ended_explanation(await self._row(job_id))

    async def metrics(self, accept: str = "") -> tuple[bytes, str]:
        """What is served at /metrics, as `Meters.exposition` gives it."""
        async with self._loop.reading():
            self._metering.measure(self._loop.now())
        return self.meters.exposition(accept)

    # Steering

    async def cancel_job(self, job_id: str) -> JobView:
        """Cancels a job. Raises `WrongStateError` if it ended otherwise."""
        view = await self.job(job_id)
        if view.state is JobState.CANCELLED:
            return view
        return await self._steer(job_id, lambda _, now: (ev.JobCancelled(job_id, now, "cancelled on request"),))

    async def pause_job(self, job_id: str) -> JobView:
        """Starts nothing new of a job. Raises `WrongStateError` if it has ended."""
        return await self._steer(job_id, lambda _, now: (ev.JobPaused(job_id, now, "paused on request"),))

    async def resume_job(self, job_id: str) -> JobView:
        """Lets a paused job run again. Raises `WrongStateError` if it has ended."""
        return await self._steer(job_id, lambda _, now: (ev.JobResumed(job_id, now),))

    async def set_priority(self, job_id: str, priority: int) -> JobView:
        """Changes a job's priority, -100 to 100. Raises `WrongStateError` if it has ended."""
        if priority not in PRIORITIES:
            message = f"is {priority}; it must be from {PRIORITIES[0]} to {PRIORITIES[-1]}"
            raise InvalidRequestError(f"priority {message}.", {"priority": message})
        return await self._steer(job_id, lambda _, now: (ev.JobPrioritized(job_id, now, priority),))

    async def _steer(self, job_id: str, change: Change) -> JobView:
        try:
            await self._loop.post(change)
        except JobNotFoundError:
            view = await self.job(job_id)
            raise WrongStateError(
                f"Job {job_id} has ended ({view.state.value}), so this cannot be done to it any more.",
                job=job_id,
                state=view.state.value,
            ) from None
        return await self.job(job_id)

    async def retry_job(self, job_id: str) -> JobView:
        """Renders again what failed, was cancelled or is damaged. Raises `WrongStateError` if there is nothing such."""
        async with self._reviving:
            row = await self._row(job_id)
            if row.state is None:
                raise WrongStateError(f"Job {job_id} has not ended: there is nothing to retry yet.", job=job_id)
            pending = RangeSet([(0, row.image_count)])
            committed = await self._storage.read(self._storage.reader.committed, job_id)
            damaged = await asyncio.to_thread(self._storage.artifacts.damaged, job_id, committed)
            for index in committed.keys() - damaged:
                pending.discard(index, index + 1)
            if not pending:
                raise WrongStateError(
                    f"Every image of job {job_id} succeeded and is still there: there is nothing to retry.", job=job_id
                )
            await self._loop.post(lambda _, now: (reopened(row, pending, now),))
            for index in damaged:
                self._storage.artifacts.remove(self._storage.artifacts.path(job_id, index, committed[index][0]))
        return await self.job(job_id)

    async def delete_job(self, job_id: str) -> None:
        """Forgets a job that has ended, and its images. Raises `WrongStateError` if it has not ended."""
        async with self._reviving:
            row = await self._row(job_id)
            if row.state is None:
                raise WrongStateError(f"Job {job_id} has not ended. Cancel it first.", job=job_id)
            await self._storage.write(self._storage.journal.delete_job, job_id)
            self.gallery.forget()
            await asyncio.to_thread(self._storage.artifacts.remove_job, job_id)

    async def drain_worker(self, worker_id: str, *, now: bool) -> WorkerView:
        """Lets a worker take nothing new; with `now`, what it has is stopped and given to others."""
        await self.worker(worker_id)
        await self._loop.post(lambda _, time: (ev.WorkerDrained(worker_id, time, now),))
        return await self.worker(worker_id)

    async def resume_worker(self, worker_id: str) -> WorkerView:
        """Lets a drained worker take work again."""
        await self.worker(worker_id)
        await self._loop.post(lambda _, time: (ev.WorkerUndrained(worker_id, time),))
        return await self.worker(worker_id)

    async def prewarm_model(self, name: str, worker_ids: Sequence[str]) -> list[str]:
        """Has workers load a model ahead, as `Prewarming.order` says. Raises `ModelNotFoundError`, too."""
        return await self._prewarming.order(await asyncio.to_thread(self._models.get, name), worker_ids)

    async def _spec_of(self, job_id: str) -> JobSpec:
        return (await self._row(job_id)).spec

    async def _row(self, job_id: str) -> JobRow:
        row = await self._storage.read(self._storage.reader.job, job_id)
        if row is None:
            raise JobNotFoundError.of(job_id)
        return row
