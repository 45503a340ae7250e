"""Has workers load a model ahead of its jobs.

What a worker is sent is an assignment without images: it loads the model as for any attempt, under the same deadlines,
and there is nothing to render with it. It is sent when the worker holds nothing else, since whoever loads one model
gives up the one before. None of it is durable: a coordinator that starts again has forgotten it.
"""

import logging
import time
from collections.abc import Sequence

from farm.coordinator.engine import Engine, Reported
from farm.coordinator.loop import Loop
from farm.domain import Assignment, AttemptKey, AttemptState, JobSpec, Model, WorkerState
from farm.errors import WrongStateError
from farm.reports import AttemptReport
from farm.scheduler.fitting import Unfit, fit
from farm.scheduler.plan import Way
from farm.scheduler.state import FarmState, Worker, kind_of

NO_JOB = ""
"""Stands for the job in the keys of assignments that are of none."""

log = logging.getLogger(__name__)


class Prewarming:
    """Knows which workers are to load what.

    Args:
        loop: The coordinator's loop.
        state: The loop's state, looked at between two turns.
        engine: Reaches the workers.
    """

    def __init__(self, loop: Loop, state: FarmState, engine: Engine) -> None:
        self._loop = loop
        self._state = state
        self._engine = engine
        self._wishes: dict[str, Assignment] = {}

    async def order(self, model: Model, worker_ids: Sequence[str]) -> list[str]:
        """Has workers load a model when they have nothing to render; gives their ids.

        Args:
            model: What to load, in the form that its own defaults ask for.
            worker_ids: Who is to load it; if empty, whoever can render with it now.

        Raises:
            WorkerNotFoundError: A worker has never joined.
            WrongStateError: A worker that was named is not there, is drained, or cannot render with the model.
        """
        async with self._loop.reading():
            named = [self._state.worker(worker_id) for worker_id in worker_ids]
            ways = {worker.worker_id: self._way(model, worker) for worker in named or self._state.workers.values()}
            if named:
                for worker_id, way in ways.items():
                    if isinstance(way, str):
                        raise WrongStateError(f"Worker {worker_id} {way}. No worker was told.", worker=worker_id)
            able = {worker_id: way for worker_id, way in ways.items() if isinstance(way, Way)}
            for worker_id, way in able.items():
                key = AttemptKey(NO_JOB, time.time_ns())
                self._wishes[worker_id] = Assignment(key, model.name, way.offer.digest, way.compute_unit, ())
            self.act()
        return sorted(able)

    def _way(self, model: Model, worker: Worker) -> Way | str:
        """How a worker renders with a model, or why it does not."""
        if worker.facts is None or worker.state in (WorkerState.OFFLINE, WorkerState.DRAINING):
            return f"is {worker.state.value}: {worker.reason}"
        way = fit(self._state.rates, kind_of(JobSpec(model.name, defaults=model.defaults)), worker.facts)
        return way.detail if isinstance(way, Unfit) else way

    def act(self) -> None:
        """Sends what waits to the workers that have nothing to render; called when anything has happened."""
        for worker_id in list(self._wishes):
            worker = self._state.workers[worker_id]
            if worker.state is WorkerState.ACTIVE and not worker.attempts:
                self._engine.assign(worker_id, self._wishes.pop(worker_id))

    def hear(self, reported: Reported) -> bool:
        """Takes a report if it is of an assignment without a job, and says whether it was."""
        report = reported.report
        if not is_prewarm(getattr(report, "key", None)):
            return False
        if isinstance(report, AttemptReport):
            if report.state is AttemptState.SUCCEEDED:
                log.info("worker.prewarmed worker=%s", reported.worker_id)
            else:
                log.warning("worker.not_prewarmed worker=%s reason=%r", reported.worker_id, report.reason)
        return True


def is_prewarm(key: AttemptKey | None) -> bool:
    """Whether a key is of an assignment without a job."""
    return key is not None and key.job_id == NO_JOB
