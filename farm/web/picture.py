"""The farm as the page shows it: sections of small cards by key, and what changed from one picture to the next.

Everybody sees the workers. Of others' jobs only admins learn that they exist, so each audience has its own picture.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from farm.coordinator.views import FarmView, JobView, WorkerView
from farm.web.history import MINUTES, History

Card = Any
"""What JSON can hold; compared, never changed."""

Picture = dict[str, dict[str, Card]]
"""Cards by section and key."""

NOTHING: Picture = {}

LIVE_JOBS = 50
"""Live jobs that an audience is shown at most; the list of jobs has the others."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who looks: `owner` sees their own jobs; without one everybody's if `sees_all`, else nobody's."""

    owner: str | None = None
    sees_all: bool = False

    def sees(self, submitter: str) -> bool:
        """Whether they may know of a job of this submitter."""
        return self.sees_all or (self.owner is not None and submitter == self.owner)


def changes(before: Picture, after: Picture) -> Picture:
    """The cards that are new or differ, and None for those that are gone; sections without any are left out."""
    found: Picture = {}
    for section in before.keys() | after.keys():
        old, new = before.get(section, {}), after.get(section, {})
        changed = {key: card for key, card in new.items() if old.get(key) != card}
        changed |= dict.fromkeys(old.keys() - new.keys())
        if changed:
            found[section] = changed
    return found


def paint(
    view: FarmView, ended: Iterable[JobView], history: History, owners: Mapping[str, str], who: Audience
) -> Picture:
    """The picture for an audience.

    Args:
        view: The farm now.
        ended: Jobs that have ended, of those that the audience may see.
        history: The farm's past.
        owners: Submitter of each job that the history names.
        who: The audience.
    """
    seen = {job_id for job_id, submitter in owners.items() if who.sees(submitter)}
    jobs = [job for job in view.jobs if who.sees(job.submitter)][:LIVE_JOBS]
    newest = max(history.minutes, default=0)
    return {
        "workers": {worker.worker_id: _worker(worker, history) for worker in view.workers},
        "work": {
            worker_id: [
                progress.job_id if progress.job_id in seen else "",
                progress.index,
                progress.stage.value,
                progress.step,
                progress.step_count,
            ]
            for worker_id, progress in view.rendering.items()
        },
        "shots": {
            worker_id: [shot.job_id, shot.index, shot.number]
            for worker_id, shot in history.latest.items()
            if shot.job_id in seen
        },
        "jobs": {job.job_id: _job(job) for job in (*jobs, *ended)},
        "farm": {"live_jobs": sum(count for submitter, count in view.live_counts.items() if who.sees(submitter))},
        "minutes": {
            str(minute): {chip_class.value: count for chip_class, count in counts.items()}
            for minute, counts in history.minutes.items()
            if minute > newest - MINUTES
        },
        "bars": {
            f"{job_id}/{number}": [
                bar.worker_id,
                job_id if job_id in seen else "",
                bar.chip_class.value,
                round(bar.start, 1),
                round(bar.end, 1),
                bar.images,
            ]
            for (job_id, number), bar in history.bars.items()
        },
        "recent": {
            f"{shot.job_id}/{shot.index}": [shot.number, round(shot.time, 1)]
            for shot in history.recent
            if shot.job_id in seen
        },
    }


def _worker(worker: WorkerView, history: History) -> Card:
    facts = worker.facts
    return {
        "chip": facts.chip,
        "class": facts.chip_class.value,
        "state": worker.state.value,
        "reason": worker.reason,
        "since": history.since.get(worker.worker_id),
        "rate": round(worker.images_per_hour, 1),
        "speed": round(worker.relative_speed, 2),
        "memory": facts.memory_bytes,
        "gpu_cores": facts.gpu_cores,
        "os": facts.os,
        "runtime": facts.runtime,
        "models": worker.resident_models,
        "labels": dict(facts.labels),
        "version": facts.version,
    }


def _job(job: JobView) -> Card:
    eta = job.eta and [round(job.eta.earliest), round(job.eta.likely), round(job.eta.latest)]
    return {
        "name": job.spec.display_name,
        "model": job.spec.model,
        "state": job.state.value,
        "reason": job.reason,
        "submitter": job.submitter,
        "priority": job.priority,
        "images": job.image_count,
        "done": job.succeeded_count,
        "failed": job.failed_count,
        "created": job.create_time,
        "started": job.start_time,
        "ended": job.end_time,
        "eta": eta,
    }
