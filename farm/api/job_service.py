"""Jobs and their images over gRPC."""

import asyncio
import bisect
from collections.abc import AsyncIterator, Sequence

from google.protobuf.empty_pb2 import Empty

from farm.api import codec
from farm.api.caller import owner_only, submitter
from farm.api.image_files import read_image_file
from farm.api.interceptor import Context
from farm.api.paging import AfterImage, AfterJob, page_size, read_token, write_token
from farm.api.requests import MAX_ENTRIES
from farm.api.status import MAX_VIOLATIONS
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.submission import Submission
from farm.coordinator.views import ImageView
from farm.domain import ImageSpec, ImageState
from farm.errors import InvalidRequestError, JobNotFoundError, PermissionDeniedError
from farm.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

CHUNK_BYTES = 64 * 1024
_PAGE = 500
_SLICE = 100
"""Entries that are decoded at a time, about a millisecond: a batch of a million must not hold other calls up."""


class JobService(job_service_pb2_grpc.JobServiceServicer):
    """Translates between `farm.v1.JobService` and the coordinator."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def SubmitJob(
        self, requests: AsyncIterator[job_service_pb2.SubmitJobRequest], context: Context
    ) -> job_pb2.Job:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("payload") != "spec":
            raise codec.invalid("spec", "is missing; the first message of a submission must hold it")
        submission = await self._coordinator.open_submission(
            codec.decode_job_spec(first.spec),
            submitter=submitter(context),
            request_id=first.request_id,
            entry_count=first.spec.entry_count if first.spec.HasField("entry_count") else None,
        )
        try:
            await _add_entries(submission, requests)
            if first.validate_only:
                job = codec.encode_job(await submission.preview())
                job.ClearField("name")
                return job
            return codec.encode_job(await self._coordinator.job(await submission.accept()))
        finally:
            await submission.abandon()

    async def GetJob(self, request: job_service_pb2.GetJobRequest, context: Context) -> job_pb2.Job:
        return codec.encode_job(await self._coordinator.job(await self._job_id(request.name)))

    async def ListJobs(
        self, request: job_service_pb2.ListJobsRequest, context: Context
    ) -> job_service_pb2.ListJobsResponse:
        size = page_size(request.page_size)
        after = read_token(request, AfterJob)
        jobs = await self._coordinator.jobs(
            states=codec.members(codec.JOB_STATES, request.states, "states"),
            submitter=_whose(request.submitter),
            after=None if after is None else (after.create_time, after.job_id),
            limit=size + 1,
        )
        page = jobs[:size]
        return job_service_pb2.ListJobsResponse(
            jobs=[codec.encode_job(job) for job in page],
            next_page_token=(
                write_token(request, AfterJob(page[-1].create_time, page[-1].job_id)) if len(jobs) > size else ""
            ),
        )

    async def DeleteJob(self, request: job_service_pb2.DeleteJobRequest, context: Context) -> Empty:
        await self._coordinator.delete_job(await self._job_id(request.name))
        return Empty()

    async def CancelJob(self, request: job_service_pb2.CancelJobRequest, context: Context) -> job_pb2.Job:
        return codec.encode_job(await self._coordinator.cancel_job(await self._job_id(request.name)))

    async def PauseJob(self, request: job_service_pb2.PauseJobRequest, context: Context) -> job_pb2.Job:
        return codec.encode_job(await self._coordinator.pause_job(await self._job_id(request.name)))

    async def ResumeJob(self, request: job_service_pb2.ResumeJobRequest, context: Context) -> job_pb2.Job:
        return codec.encode_job(await self._coordinator.resume_job(await self._job_id(request.name)))

    async def RetryJob(self, request: job_service_pb2.RetryJobRequest, context: Context) -> job_pb2.Job:
        return codec.encode_job(await self._coordinator.retry_job(await self._job_id(request.name)))

    async def UpdateJobPriority(
        self, request: job_service_pb2.UpdateJobPriorityRequest, context: Context
    ) -> job_pb2.Job:
        job_id = await self._job_id(request.name)
        return codec.encode_job(await self._coordinator.set_priority(job_id, request.priority))

    async def WatchJob(
        self, request: job_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.JobEvent]:
        after = request.after_sequence if request.HasField("after_sequence") else None
        async for event in self._coordinator.watch(await self._job_id(request.name), after):
            yield codec.encode_event(event)

    async def ExplainJob(
        self, request: job_service_pb2.ExplainJobRequest, context: Context
    ) -> job_service_pb2.ExplainJobResponse:
        return codec.encode_explanation(await self._coordinator.explain(await self._job_id(request.name)))

    async def ListImages(
        self, request: job_service_pb2.ListImagesRequest, context: Context
    ) -> job_service_pb2.ListImagesResponse:
        size = page_size(request.page_size)
        after = read_token(request, AfterImage)
        images = await self._coordinator.images(
            await self._job_id(request.parent, "parent"),
            states=codec.members(codec.IMAGE_STATES, request.states, "states"),
            after_index=-1 if after is None else after.index,
            limit=size + 1,
        )
        page = images[:size]
        return job_service_pb2.ListImagesResponse(
            images=[codec.encode_image(image) for image in page],
            next_page_token=write_token(request, AfterImage(page[-1].index)) if len(images) > size else "",
        )

    async def DownloadImages(
        self, request: job_service_pb2.DownloadImagesRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.ImageChunk]:
        async for image in self._committed_images(request):
            png = await asyncio.to_thread(read_image_file, self._coordinator, image)
            yield job_service_pb2.ImageChunk(image=codec.encode_image(image), data=png[:CHUNK_BYTES])
            for offset in range(CHUNK_BYTES, len(png), CHUNK_BYTES):
                yield job_service_pb2.ImageChunk(data=png[offset : offset + CHUNK_BYTES], offset=offset)

    async def _committed_images(self, request: job_service_pb2.DownloadImagesRequest) -> AsyncIterator[ImageView]:
        job_id = await self._job_id(request.parent, "parent")
        chosen = frozenset(request.indices)
        wanted = sorted(chosen)
        start = request.after_index if request.HasField("after_index") else -1
        after = _before_next(wanted, start)
        while after is not None:
            images = await self._coordinator.images(job_id, frozenset({ImageState.SUCCEEDED}), after, _PAGE)
            for image in images:
                if not wanted or image.index in chosen:
                    yield image
            after = _before_next(wanted, images[-1].index) if images else None

    async def _job_id(self, name: str, field: str = "name") -> str:
        """The id of a job that the caller may see; to others it does not exist."""
        job_id = codec.resource_id(name, "jobs", field)
        owner = owner_only()
        if owner is not None and (await self._coordinator.job(job_id)).submitter != owner:
            raise JobNotFoundError.of(job_id)
        return job_id


def _before_next(wanted: Sequence[int], after: int) -> int | None:
    """Where to look on after index `after`: just before the next one that is wanted, or None if that was the last.

    Nothing wanted stands for everything.
    """
    if not wanted:
        return after
    position = bisect.bisect_right(wanted, after)
    return wanted[position] - 1 if position < len(wanted) else None


async def _add_entries(submission: Submission, requests: AsyncIterator[job_service_pb2.SubmitJobRequest]) -> None:
    """Stages all entries; reads on after a wrong one, so that the error names more than the first."""
    violations: dict[str, str] = {}
    async for request in requests:
        entries = _entries(request)
        specs: list[ImageSpec] = []
        for start in range(0, len(entries), _SLICE):
            specs += map(codec.decode_image_spec, entries[start : start + _SLICE])
            await asyncio.sleep(0)  # other calls have their turn
        try:
            await submission.add(specs)
        except InvalidRequestError as error:
            violations.update(error.violations)
            if len(violations) >= MAX_VIOLATIONS:
                break
    if violations:
        raise codec.refusal(violations)


def _entries(request: job_service_pb2.SubmitJobRequest) -> Sequence[job_pb2.ImageSpec]:
    if request.WhichOneof("payload") != "entries":
        raise codec.invalid("entries", "are missing; every message of a submission but the first must hold some")
    if len(request.entries.entries) > MAX_ENTRIES:
        raise codec.invalid(
            "entries", f"of one message are {len(request.entries.entries)}; at most {MAX_ENTRIES} are taken"
        )
    return request.entries.entries


def _whose(wanted: str) -> str | None:
    """Whose jobs are listed, of those that the caller may see: whom it asks for, or all."""
    owner = owner_only()
    if owner is not None and wanted not in ("", owner):
        raise PermissionDeniedError(
            f'The jobs of "{wanted}" are not yours to list: with this token, "{owner}" sees their own. Leave the '
            "submitter out, or use a token with the role admin.",
            submitter=wanted,
        )
    return owner or wanted or None
