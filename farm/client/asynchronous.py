"""The farm from Python, for asyncio: the calls of the blocking client, awaited.

Example::

    import asyncio
    from farm import AsyncClient

    async def main() -> None:
        async with AsyncClient() as farm:
            job = await farm.submit(["a red circle on a white background", "a blue star on a black background"])
            async for image in job.images():  # as they are finished
                print(image.index, image.spec.prompt, image.worker)
            await job.download("out/two")

    asyncio.run(main())
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from farm.access.tokens import Role
from farm.api.requests import Assembler
from farm.client.shared import (
    PAGE_SIZE,
    PATIENCE_SECONDS,
    KnownJob,
    chosen_access,
    create_invite_request,
    create_token_request,
    drain_request,
    get_job_request,
    list_jobs_request,
    outgoing,
    prewarm_request,
    resume_worker_request,
    revoke_token_request,
)
from farm.connection import AsyncConnection
from farm.domain import ImageSpec, ImageState, JobState, Pin
from farm.errors import ArtifactError
from farm.output_folder import output_folder
from farm.v1 import (
    access_pb2,
    access_service_pb2,
    job_pb2,
    job_service_pb2,
    model_pb2,
    model_service_pb2,
    worker_pb2,
    worker_service_pb2,
)


class AsyncClient:
    """A connection to a farm, used on the event loop that runs when it is made.

    Calls, arguments, results, errors and what survives a restart of the farm are those of `Client`. An iteration that
    is left early is best closed (`contextlib.aclosing`), so that its stream ends at once.

    Args:
        address: Where the farm listens; without it FARM_ADDRESS, or this machine's farm.
        token: Secret of the token to call with; without it FARM_TOKEN or, for a farm of this user's on this machine,
            the farm's own.
        ca: What a farm on another machine is verified with: the file of its CA certificate, or "sha256:HEX", which is
            asked for once when the client is made; without it FARM_CA.
        patience_seconds: How long what a restart cuts off waits for the farm to come back.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        ca: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection = AsyncConnection(chosen_access(address, token, ca), patience_seconds)
        self.address = self._connection.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and what still runs over it."""
        await self._connection.close()

    async def submit(
        self,
        entries: str | Iterable[str | ImageSpec] = (),
        *,
        model: str = "",
        display_name: str = "",
        priority: int = 0,
        labels: Mapping[str, str] | None = None,
        pin: Pin | None = None,
        webhook: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        **defaults: Any,
    ) -> "AsyncJob":
        """Submits a batch, as `Client.submit` does. Entries are read on the event loop, up to 1,000 at a time."""
        message = await self._connection.send(
            outgoing(
                entries,
                model=model,
                display_name=display_name,
                priority=priority,
                labels=labels,
                pin=pin,
                webhook=webhook,
                request_id=request_id,
                validate_only=validate_only,
                defaults=defaults,
            )
        )
        return AsyncJob(self._connection, message)

    async def job(self, name: str) -> "AsyncJob":
        """The job of that name, with or without "jobs/"."""
        message = await self._connection.call(self._connection.jobs.GetJob, get_job_request(name))
        return AsyncJob(self._connection, message)

    async def jobs(self, states: Iterable[JobState] = (), submitter: str = "") -> AsyncGenerator["AsyncJob", None]:
        """Jobs, newest first; all of them, or those in `states` and of `submitter`."""
        request = list_jobs_request(states, submitter)
        async for page in self._connection.pages(self._connection.jobs.ListJobs, request):
            for message in page.jobs:
                yield AsyncJob(self._connection, message)

    async def workers(self) -> AsyncGenerator[worker_pb2.Worker, None]:
        """Workers, by name."""
        request = worker_service_pb2.ListWorkersRequest(page_size=PAGE_SIZE)
        async for page in self._connection.pages(self._connection.workers.ListWorkers, request):
            for worker in page.workers:
                yield worker

    async def drain(self, worker: str, *, now: bool = False) -> worker_pb2.Worker:
        """Lets a worker take nothing new, as `Client.drain` does."""
        return await self._connection.call(self._connection.workers.DrainWorker, drain_request(worker, now=now))

    async def resume_worker(self, worker: str) -> worker_pb2.Worker:
        """Lets a drained worker take work again, as `Client.resume_worker` does."""
        return await self._connection.call(self._connection.workers.ResumeWorker, resume_worker_request(worker))

    async def models(self) -> AsyncGenerator[model_pb2.Model, None]:
        """Models, by name."""
        request = model_service_pb2.ListModelsRequest(page_size=PAGE_SIZE)
        async for page in self._connection.pages(self._connection.models.ListModels, request):
            for model in page.models:
                yield model

    async def prewarm(self, model: str, workers: Iterable[str] = ()) -> list[str]:
        """Has workers load a model when they have nothing to render, as `Client.prewarm` does; gives their names."""
        request = prewarm_request(model, workers)
        return list((await self._connection.call(self._connection.models.PrewarmModel, request)).workers)

    async def create_token(
        self, role: Role, display_name: str, expire_time: float | None = None
    ) -> access_service_pb2.CreateTokenResponse:
        """Makes a token; its `secret` is told this once.

        Args:
            role: What it allows: SUBMIT, WORKER or ADMIN.
            display_name: Whose it is.
            expire_time: When it ends, in seconds since the epoch; None for never.
        """
        request = create_token_request(role, display_name, expire_time)
        return await self._connection.call(self._connection.access.CreateToken, request)

    async def create_invite(
        self, display_name: str = "", expire_time: float | None = None
    ) -> access_service_pb2.CreateInviteResponse:
        """Makes a token with which one machine can join, once; it ends after an hour unless `expire_time` says else."""
        request = create_invite_request(display_name, expire_time)
        return await self._connection.call(self._connection.access.CreateInvite, request)

    async def tokens(self) -> AsyncGenerator[access_pb2.Token]:
        """Tokens by name, also those that are no longer valid."""
        request = access_service_pb2.ListTokensRequest(page_size=PAGE_SIZE)
        async for page in self._connection.pages(self._connection.access.ListTokens, request):
            for token in page.tokens:
                yield token

    async def revoke_token(self, name: str) -> access_pb2.Token:
        """Makes the token of that name, with or without "tokens/", useless at once."""
        return await self._connection.call(self._connection.access.RevokeToken, revoke_token_request(name))


class AsyncJob(KnownJob):
    """A job of a farm: its state when last heard of, and what can be done with it, as `Job` does it."""

    def __init__(self, connection: AsyncConnection, message: job_pb2.Job) -> None:
        super().__init__(message)
        self._connection = connection

    async def refresh(self) -> "AsyncJob":
        """Asks the farm how far the job has come."""
        return await self._told(self._connection.jobs.GetJob, job_service_pb2.GetJobRequest(name=self.name))

    async def cancel(self) -> "AsyncJob":
        """Stops it: running images stop within a step, committed ones remain."""
        return await self._told(self._connection.jobs.CancelJob, job_service_pb2.CancelJobRequest(name=self.name))

    async def pause(self) -> "AsyncJob":
        """Starts nothing new of it until it is resumed."""
        return await self._told(self._connection.jobs.PauseJob, job_service_pb2.PauseJobRequest(name=self.name))

    async def resume(self) -> "AsyncJob":
        """Goes on with a paused job."""
        return await self._told(self._connection.jobs.ResumeJob, job_service_pb2.ResumeJobRequest(name=self.name))

    async def retry(self) -> "AsyncJob":
        """Renders again what failed or was cancelled in it, once it has ended."""
        return await self._told(self._connection.jobs.RetryJob, job_service_pb2.RetryJobRequest(name=self.name))

    async def set_priority(self, priority: int) -> "AsyncJob":
        """Changes its priority."""
        request = job_service_pb2.UpdateJobPriorityRequest(name=self.name, priority=priority)
        return await self._told(self._connection.jobs.UpdateJobPriority, request)

    async def _told(self, method: Callable[..., Awaitable[job_pb2.Job]], request: object) -> "AsyncJob":
        self.message = await self._connection.call(method, request)
        return self

    async def delete(self) -> None:
        """Deletes it with its images, once it has ended."""
        await self._connection.call(self._connection.jobs.DeleteJob, job_service_pb2.DeleteJobRequest(name=self.name))

    async def explain(self) -> job_service_pb2.ExplainJobResponse:
        """Why it runs on each worker, or why it does not."""
        request = job_service_pb2.ExplainJobRequest(name=self.name)
        return await self._connection.call(self._connection.jobs.ExplainJob, request)

    async def watch(self, after_sequence: int | None = None) -> AsyncGenerator[job_service_pb2.JobEvent, None]:
        """Follows the job to its end: its state first, then what happens. Survives a restart of the farm.

        Args:
            after_sequence: Also tells of images that were settled after this event; 0 tells of all.
        """
        after = after_sequence

        def open_stream() -> Any:
            return self._connection.jobs.WatchJob(job_service_pb2.WatchJobRequest(name=self.name, after_sequence=after))

        async with contextlib.aclosing(self._connection.resumed(open_stream)) as events:
            async for event in events:
                after = event.sequence
                self._learn(event)
                yield event

    async def images(self) -> AsyncGenerator[job_pb2.Image, None]:
        """The job's images in the order in which they are settled, as it happens; ends with the job.

        An image has succeeded if its `sha256` is set; otherwise its `error` says why it failed.
        """
        async with contextlib.aclosing(self.watch(after_sequence=0)) as events:
            async for event in events:
                if event.HasField("image"):
                    yield event.image

    async def wait(self) -> JobState:
        """Waits for the job's end."""
        async for _ in self.watch():
            pass
        return self.state

    async def list_images(self, states: Iterable[ImageState] = ()) -> AsyncGenerator[Sequence[job_pb2.Image], None]:
        """The job's images by index, in pages; all of them, or those in `states`."""
        request = self._list_images_request(states)
        async for page in self._connection.pages(self._connection.jobs.ListImages, request):
            yield page.images

    async def pngs(self, indices: Sequence[int] = ()) -> AsyncGenerator[tuple[job_pb2.Image, bytes], None]:
        """Committed images with their files' bytes, by index; all of them, or those named. Survives a restart."""
        after: int | None = None

        def open_stream() -> Any:
            return self._connection.jobs.DownloadImages(
                job_service_pb2.DownloadImagesRequest(parent=self.name, after_index=after, indices=indices)
            )

        assembler = Assembler()
        async with contextlib.aclosing(self._connection.resumed(open_stream)) as chunks:
            async for chunk in chunks:
                if whole := assembler.add(chunk):
                    after = whole[0].index
                    yield whole

    async def png(self, index: int) -> bytes:
        """One image's file.

        Raises:
            ImageNotFoundError: The job has no such image, or it is not committed.
        """
        async for _, png in self.pngs([index]):
            return png
        raise self._no_file(index)

    async def download(self, folder: str | os.PathLike[str], on_image: Callable[[], object] = lambda: None) -> int:
        """Fetches what is there into `folder`, as `Job.download` does; files are written on a thread.

        Args:
            folder: Made if need be.
            on_image: Called after each image that was fetched.

        Returns:
            How many committed images the folder holds now.
        """
        with output_folder(Path(folder), self.name) as output:
            async for page in self.list_images():
                missing = await asyncio.to_thread(output.missing, page)
                while missing:
                    try:
                        async for image, png in self.pngs(missing):
                            await asyncio.to_thread(output.store, image, png)
                            on_image()
                        break
                    except ArtifactError as error:
                        missing = output.skip_damaged(error, missing)
                output.record(page)
        return output.count
