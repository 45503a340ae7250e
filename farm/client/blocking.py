"""The farm from Python, in calls that block.

Example::

    from farm import Client

    with Client() as farm:
        job = farm.submit(["a red circle on a white background", "a blue star on a black background"], steps=20)
        for image in job.images():  # as they are finished
            print(image.index, image.spec.prompt, image.worker)
        job.download("out/two")
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from farm.connection import Connection
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


class Client:
    """A connection to a farm. Calls block; results are the API's messages; errors are those of `farm.errors`.

    What a restart of the farm cuts off goes on by itself: watches and downloads where they were, submissions from
    their first entry, under the same request id, so that none becomes two jobs.

    Args:
        address: Where the farm listens; without it FARM_ADDRESS, or this machine's farm.
        token: Secret of the token to call with; without it FARM_TOKEN or, for a farm of this user's on this machine,
            the farm's own.
        ca: What a farm on another machine is verified with: the file of its CA certificate, or "sha256:HEX", which is
            asked for once when the client is made; without it FARM_CA.
        patience_seconds: How long they wait for a farm that has gone away to come back.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        ca: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection = Connection(chosen_access(address, token, ca), patience_seconds)
        self.address = self._connection.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and what still runs over it."""
        self._connection.close()

    def submit(
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
    ) -> "Job":
        """Submits a batch. When it returns, the job is on the coordinator's disk.

        Args:
            entries: A prompt, prompts, or `ImageSpec`s that say more than a prompt; read as they are sent, so a batch
                may be longer than memory. If reading them fails, nothing is submitted and the failure is raised. What
                can be iterated over again is sent again after a restart of the farm; an iterator cannot be.
            model: Name of the model; may be left out where the farm has only one.
            display_name: A name for people.
            priority: Larger runs first, -100 to 100.
            labels: Your own key-value pairs.
            pin: Restricts where the job may run.
            webhook: URL that is told when the job has ended (docs/webhooks.md).
            request_id: A UUID: the same submission sent again with it returns the first one's job.
            validate_only: Check everything and submit nothing. The job that is returned has no name; its `message` is
                what it would be.
            **defaults: `ImageSpec`'s fields, for entries that leave them open: `steps=20`, `seed=7`, ...

        Raises:
            InvalidRequestError: Fields are wrong; `violations` names them.
            ModelNotFoundError: The farm has no such model.
            UnreachableError: The farm does not answer, or a restart cut off a batch that cannot be read again.
        """
        message = self._connection.send(
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
        return Job(self._connection, message)

    def job(self, name: str) -> "Job":
        """The job of that name, with or without "jobs/"."""
        return Job(self._connection, self._connection.call(self._connection.jobs.GetJob, get_job_request(name)))

    def jobs(self, states: Iterable[JobState] = (), submitter: str = "") -> Iterator["Job"]:
        """Jobs, newest first; all of them, or those in `states` and of `submitter`."""
        request = list_jobs_request(states, submitter)
        for page in self._connection.pages(self._connection.jobs.ListJobs, request):
            for message in page.jobs:
                yield Job(self._connection, message)

    def workers(self) -> Iterator[worker_pb2.Worker]:
        """Workers, by name."""
        request = worker_service_pb2.ListWorkersRequest(page_size=PAGE_SIZE)
        for page in self._connection.pages(self._connection.workers.ListWorkers, request):
            yield from page.workers

    def drain(self, worker: str, *, now: bool = False) -> worker_pb2.Worker:
        """Lets a worker, named with or without "workers/", take nothing new; with `now` it also stops what it has.

        Raises:
            WorkerNotFoundError: It has never joined.
        """
        return self._connection.call(self._connection.workers.DrainWorker, drain_request(worker, now=now))

    def resume_worker(self, worker: str) -> worker_pb2.Worker:
        """Lets a drained worker take work again. Raises `WorkerNotFoundError` if it has never joined."""
        return self._connection.call(self._connection.workers.ResumeWorker, resume_worker_request(worker))

    def models(self) -> Iterator[model_pb2.Model]:
        """Models, by name."""
        request = model_service_pb2.ListModelsRequest(page_size=PAGE_SIZE)
        for page in self._connection.pages(self._connection.models.ListModels, request):
            yield from page.models

    def prewarm(self, model: str, workers: Iterable[str] = ()) -> list[str]:
        """Has workers load a model when they have nothing to render; gives their names.

        Args:
            model: Its name, with or without "models/".
            workers: Who is to, with or without "workers/"; if empty, whoever can render with it now.

        Raises:
            ModelNotFoundError: The farm has no such model.
            WorkerNotFoundError: A worker has never joined.
            WrongStateError: A worker that was named is not there, is drained, or cannot render with the model.
        """
        request = prewarm_request(model, workers)
        return list(self._connection.call(self._connection.models.PrewarmModel, request).workers)

    def create_token(
        self, role: Role, display_name: str, expire_time: float | None = None
    ) -> access_service_pb2.CreateTokenResponse:
        """Makes a token; its `secret` is told this once.

        Args:
            role: What it allows: SUBMIT, WORKER or ADMIN.
            display_name: Whose it is.
            expire_time: When it ends, in seconds since the epoch; None for never.
        """
        request = create_token_request(role, display_name, expire_time)
        return self._connection.call(self._connection.access.CreateToken, request)

    def create_invite(
        self, display_name: str = "", expire_time: float | None = None
    ) -> access_service_pb2.CreateInviteResponse:
        """Makes a token with which one machine can join, once; it ends after an hour unless `expire_time` says else."""
        request = create_invite_request(display_name, expire_time)
        return self._connection.call(self._connection.access.CreateInvite, request)

    def tokens(self) -> Iterator[access_pb2.Token]:
        """Tokens by name, also those that are no longer valid."""
        request = access_service_pb2.ListTokensRequest(page_size=PAGE_SIZE)
        for page in self._connection.pages(self._connection.access.ListTokens, request):
            yield from page.tokens

    def revoke_token(self, name: str) -> access_pb2.Token:
        """Makes the token of that name, with or without "tokens/", useless at once."""
        return self._connection.call(self._connection.access.RevokeToken, revoke_token_request(name))


class Job(KnownJob):
    """A job of a farm: its state when last heard of, and what can be done with it."""

    def __init__(self, connection: Connection, message: job_pb2.Job) -> None:
        super().__init__(message)
        self._connection = connection

    def refresh(self) -> "Job":
        """Asks the farm how far the job has come."""
        return self._told(self._connection.jobs.GetJob, job_service_pb2.GetJobRequest(name=self.name))

    def cancel(self) -> "Job":
        """Stops it: running images stop within a step, committed ones remain."""
        return self._told(self._connection.jobs.CancelJob, job_service_pb2.CancelJobRequest(name=self.name))

    def pause(self) -> "Job":
        """Starts nothing new of it until it is resumed."""
        return self._told(self._connection.jobs.PauseJob, job_service_pb2.PauseJobRequest(name=self.name))

    def resume(self) -> "Job":
        """Goes on with a paused job."""
        return self._told(self._connection.jobs.ResumeJob, job_service_pb2.ResumeJobRequest(name=self.name))

    def retry(self) -> "Job":
        """Renders again what failed or was cancelled in it, once it has ended."""
        return self._told(self._connection.jobs.RetryJob, job_service_pb2.RetryJobRequest(name=self.name))

    def set_priority(self, priority: int) -> "Job":
        """Changes its priority."""
        request = job_service_pb2.UpdateJobPriorityRequest(name=self.name, priority=priority)
        return self._told(self._connection.jobs.UpdateJobPriority, request)

    def _told(self, method: Callable[..., job_pb2.Job], request: object) -> "Job":
        self.message = self._connection.call(method, request)
        return self

    def delete(self) -> None:
        """Deletes it with its images, once it has ended."""
        self._connection.call(self._connection.jobs.DeleteJob, job_service_pb2.DeleteJobRequest(name=self.name))

    def explain(self) -> job_service_pb2.ExplainJobResponse:
        """Why it runs on each worker, or why it does not."""
        request = job_service_pb2.ExplainJobRequest(name=self.name)
        return self._connection.call(self._connection.jobs.ExplainJob, request)

    def watch(self, after_sequence: int | None = None) -> Iterator[job_service_pb2.JobEvent]:
        """Follows the job to its end: its state first, then what happens. Survives a restart of the farm.

        Args:
            after_sequence: Also tells of images that were settled after this event; 0 tells of all.
        """
        after = after_sequence

        def open_stream() -> Iterator[job_service_pb2.JobEvent]:
            return self._connection.jobs.WatchJob(job_service_pb2.WatchJobRequest(name=self.name, after_sequence=after))

        for event in self._connection.resumed(open_stream):
            after = event.sequence
            self._learn(event)
            yield event

    def images(self) -> Iterator[job_pb2.Image]:
        """The job's images in the order in which they are settled, as it happens; ends with the job.

        An image has succeeded if its `sha256` is set; otherwise its `error` says why it failed.
        """
        return (event.image for event in self.watch(after_sequence=0) if event.HasField("image"))

    def wait(self) -> JobState:
        """Waits for the job's end."""
        for _ in self.watch():
            pass
        return self.state

    def list_images(self, states: Iterable[ImageState] = ()) -> Iterator[Sequence[job_pb2.Image]]:
        """The job's images by index, in pages; all of them, or those in `states`."""
        request = self._list_images_request(states)
        return (page.images for page in self._connection.pages(self._connection.jobs.ListImages, request))

    def pngs(self, indices: Sequence[int] = ()) -> Iterator[tuple[job_pb2.Image, bytes]]:
        """Committed images with their files' bytes, by index; all of them, or those named. Survives a restart."""
        after: int | None = None

        def open_stream() -> Iterator[job_service_pb2.ImageChunk]:
            return self._connection.jobs.DownloadImages(
                job_service_pb2.DownloadImagesRequest(parent=self.name, after_index=after, indices=indices)
            )

        assembler = Assembler()
        for chunk in self._connection.resumed(open_stream):
            if whole := assembler.add(chunk):
                after = whole[0].index
                yield whole

    def png(self, index: int) -> bytes:
        """One image's file.

        Raises:
            ImageNotFoundError: The job has no such image, or it is not committed.
        """
        for _, png in self.pngs([index]):
            return png
        raise self._no_file(index)

    def download(self, folder: str | os.PathLike[str], on_image: Callable[[], object] = lambda: None) -> int:
        """Fetches what is there into `folder`: PNGs by index, `manifest.jsonl`, `contact-sheet.png`.

        Files that are there already are kept if they are right, so that a download can be repeated at any time.

        Args:
            folder: Made if need be. It is for this job's images alone.
            on_image: Called after each image that was fetched.

        Returns:
            How many committed images the folder holds now.

        Raises:
            OutputFolderError: The folder cannot be written, or holds another job's images.
            ArtifactError: Images are damaged on the coordinator. All others were fetched.
        """
        with output_folder(Path(folder), self.name) as output:
            for page in self.list_images():
                missing = output.missing(page)
                while missing:
                    try:
                        for image, png in self.pngs(missing):
                            output.store(image, png)
                            on_image()
                        break
                    except ArtifactError as error:
                        missing = output.skip_damaged(error, missing)
                output.record(page)
        return output.count
