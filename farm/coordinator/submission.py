"""A submission on its way in: staged where nobody sees it, accepted by one small transaction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import msgspec

from farm.coordinator.admission import entry_violations, refuse_infeasible
from farm.coordinator.journal_file import encode_spec
from farm.coordinator.journal_reader import RequestRow
from farm.coordinator.loop import Loop
from farm.coordinator.storage import Storage
from farm.coordinator.viewer import prospective_job_view
from farm.coordinator.views import JobView
from farm.domain import ImageSpec, JobSpec, Model, evaluation_count
from farm.errors import InfeasibleJobError, InvalidRequestError, RequestIdReusedError
from farm.scheduler import events as ev

MAX_WRONG_FIELDS = 100
"""Wrong fields that are named at most: a file with a million wrong rows has one mistake."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is submitted, and under which names.

    Attributes:
        job_id: The job's, if it is accepted.
        spec: As its submitter wrote it.
        accepted_spec: The same with complete defaults.
        submitter: Who submits.
        request_id: The client's; empty for none.
        entry_count: How many entries are to come; None if it was not said.
    """

    job_id: str
    spec: JobSpec
    accepted_spec: JobSpec
    submitter: str
    request_id: str
    entry_count: int | None


class Submission:
    """Takes entries, then becomes a job or nothing.

    Use `Submission.open`; then `add` as often as there is something, then `accept`, and `abandon` in any case.
    """

    def __init__(
        self,
        request: Request,
        model: Model,
        loop: Loop,
        storage: Storage,
        arriving: set[str],
        earlier: RequestRow | None,
    ) -> None:
        self._request = request
        self._model = model
        self._loop = loop
        self._storage = storage
        self._arriving = arriving
        self._earlier = earlier
        self._count = 0
        self._evaluations = 0
        self._is_staged = False
        self._digest = hashlib.sha256(msgspec.json.encode((request.spec, request.submitter)))

    @classmethod
    async def open(cls, request: Request, model: Model, loop: Loop, storage: Storage, arriving: set[str]) -> Self:
        """Begins a submission; one that was accepted before under the same request id is only compared with it.

        Args:
            request: What is submitted.
            model: The model it names.
            loop: Makes it a job.
            storage: Where it is staged.
            arriving: Request ids of submissions that are open; this one's is in it until it is accepted or abandoned.

        Raises:
            InfeasibleJobError: Workers have joined, and none of them can ever render the job.
        """
        arriving.add(request.request_id)
        earlier = await storage.read(storage.reader.request, request.request_id) if request.request_id else None
        submission = cls(request, model, loop, storage, arriving, earlier)
        if earlier is None:
            try:
                async with loop.reading() as (state, _):
                    refuse_infeasible(state, request.accepted_spec)
            except InfeasibleJobError:
                arriving.discard(request.request_id)
                raise
            await storage.write(storage.journal.stage, request.job_id, request.request_id)
            submission._is_staged = True
        return submission

    async def add(self, entries: Sequence[ImageSpec]) -> None:
        """Takes further entries.

        Raises:
            InvalidRequestError: Some are wrong; says which and why. The submission must not be accepted then, but the
                rest may be added to learn what else is wrong.
        """
        first, self._count = self._count, self._count + len(entries)
        spec = self._request.accepted_spec
        wrong = dict(islice(entry_violations(entries, first, spec.defaults, self._model), MAX_WRONG_FIELDS))
        if wrong:
            field, message = next(iter(wrong.items()))
            raise InvalidRequestError(f"{field} {message}. Nothing was submitted.", wrong)
        self._evaluations += sum(evaluation_count(entry.over(spec.defaults)) for entry in entries)
        rows = [encode_spec(entry) for entry in entries]
        for row in rows:
            self._digest.update(row + b"\n")
        if self._earlier is None:
            await self._storage.write(self._storage.journal.stage_entries, self._request.job_id, first, rows)

    async def preview(self) -> JobView:
        """The job that `accept` would make; raises as it does."""
        await self.check()
        async with self._loop.reading() as (state, _):
            return prospective_job_view(
                state,
                self._request.accepted_spec,
                self._request.submitter,
                self._count,
                self._mean_evaluations,
                self._loop.now(),
            )

    async def accept(self) -> str:
        """Makes the submission a job, on disk when this returns, and gives its id.

        Raises:
            InvalidRequestError: Other than the announced number of entries came, or no image has a prompt.
            RequestIdReusedError: The request id was used for another submission.
        """
        await self.check()
        if self._earlier is not None:
            return self._earlier.job_id
        request = self._request
        await self._storage.write(self._storage.journal.seal, request.job_id, self._digest.hexdigest())
        await self._loop.post(lambda _, now: (self._opened(now),))
        self._is_staged = False
        return request.job_id

    async def check(self) -> None:
        """Checks what can only be checked once everything has come; raises as `accept` does."""
        announced = self._request.entry_count
        if self._count == 0 and announced in (None, 1):
            await self.add([ImageSpec()])
        if self._count == 0 == announced:
            raise InvalidRequestError(
                "The submission has no entries, and a job has at least one image. Nothing was submitted.",
                {"spec.entry_count": "is 0; a job has at least one image"},
            )
        if announced not in (None, self._count):
            raise InvalidRequestError(
                f"{announced} entries were announced and {self._count} came: the submission is not whole. Nothing was "
                "submitted; send it again.",
                {"spec.entry_count": f"is {announced}, but {self._count} entries came"},
            )
        if self._earlier is not None and self._earlier.digest != self._digest.hexdigest():
            raise RequestIdReusedError(
                f"Request id {self._request.request_id} was used for another submission, job {self._earlier.job_id}. "
                "Use a new one for what is new.",
                request_id=self._request.request_id,
                job=self._earlier.job_id,
            )

    async def abandon(self) -> None:
        """Removes what was staged, unless the submission was accepted."""
        self._arriving.discard(self._request.request_id)
        if self._is_staged:
            self._is_staged = False
            await self._storage.write(self._storage.journal.unstage, self._request.job_id)

    def _opened(self, now: float) -> ev.JobOpened:
        request = self._request
        return ev.JobOpened(
            job_id=request.job_id,
            time=now,
            spec=request.accepted_spec,
            submitter=request.submitter,
            priority=request.spec.priority,
            image_count=self._count,
            pending=((0, self._count),),
            succeeded_count=0,
            next_attempt_number=1,
            create_time=now,
            evaluations=self._mean_evaluations,
        )

    @property
    def _mean_evaluations(self) -> int:
        return round(self._evaluations / self._count)
