"""Runs the farm's own scheduler over simulated Macs: a heap of what is due in place of a clock."""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from farm.domain import (
    AttemptKey,
    AttemptState,
    ComputeUnit,
    ImageSpec,
    JobSpec,
    Measurement,
    Pin,
    Provenance,
    Resident,
)
from farm.errors import RESULT_DEFECTIVE, StaleAttemptError
from farm.reports import AttemptReport, ImageFailureReport, MeasurementReport, Report
from farm.scheduler import events as ev
from farm.scheduler.chips import SPLIT_ON_GPU
from farm.scheduler.eta import eta
from farm.scheduler.fitting import Unfit, fit
from farm.scheduler.scheduler import decide, judge, next_deadline
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from farm.simulator.faults import Upset, upsets
from farm.simulator.mac import Held, Mac
from farm.simulator.records import Records
from farm.simulator.scenario import NO_FAULTS, POLICIES, Faults, Fleet, Jobs, Workload
from farm.simulator.speeds import MODELS, VARIANTS, Speed, chip_facts, measurement, speeds

BEAT_SECONDS = 5.0
"""Between two heartbeats; less often than a real worker's, as all that matters is that it is within the lease."""

PATIENCE_SECONDS = 6 * 3600.0
"""A farm in which nothing is committed for so long, with no job or Mac to come, will never end."""


class Simulation:
    """One run.

    Args:
        fleet: The Macs.
        workload: The jobs.
        faults: What goes wrong.
        seed: Of all chance.
        policy: A key of `POLICIES`.
        keep_spans: Whether to keep every image's time, for a Gantt chart.
    """

    def __init__(
        self,
        fleet: Fleet,
        workload: Workload,
        faults: Faults = NO_FAULTS,
        *,
        seed: int = 0,
        policy: str = "best",
        keep_spans: bool = False,
    ) -> None:
        self.state = FarmState()
        self.fleet = fleet
        self.faults = faults
        self.now = 0.0
        self._chance = random.Random(seed)  # noqa: S311 - it draws speeds and faults, not secrets
        self._due: list[tuple[float, int, Mac | Callable[[], None], int]] = []
        self._count = 0
        # Whatever the policy, the same seed gives the same Macs, jobs and faults: measurements are drawn last.
        factors = _factors(fleet, self._chance)
        self.arrivals = _arrivals(workload, self._chance)
        self.joins = [macs.join_at for macs in fleet.mac for _ in range(macs.count)]
        self.upsets = upsets(faults, self.joins, self._chance)
        self.macs = _macs(fleet, factors, POLICIES[policy], self._chance)
        self._by_name = {mac.worker_id: mac for mac in self.macs}
        self.records = Records(keep_spans)
        self._provenances: dict[tuple[str, Resident], Provenance] = {}
        self._to_come = len(self.arrivals)
        self._schedule()

    def run(self, *, until: float = math.inf, images: float = math.inf) -> Records:
        """Runs on until every job has ended, or nothing can happen any more.

        Args:
            until: Or until so many seconds after the start.
            images: Or until so many images were committed.
        """
        last_to_come = max([opened.time for opened in self.arrivals] + self.joins, default=0.0)
        while (self._to_come or self.state.jobs) and self.now < until and self.records.image_count < images:
            self._turn()
            if self.now - max(self.records.last_commit, last_to_come) > PATIENCE_SECONDS:
                last_to_come = self._last_help()
                if self.now - last_to_come > PATIENCE_SECONDS:
                    break
        return self.records

    def _last_help(self) -> float:
        """When the last Mac joins, or joins again, that fits a job which is not done; 0 if there is none."""
        kinds = {job.kind.key: job.kind for job in self.state.jobs.values()}.values()
        fitting = {
            mac.number
            for mac in self.macs
            if any(not isinstance(fit(self.state.rates, kind, mac.facts), Unfit) for kind in kinds)
        }
        return max((upset.time for upset in self.upsets if upset.kind == "join" and upset.mac in fitting), default=0.0)

    def _schedule(self) -> None:
        for upset in self.upsets:
            self._at(upset.time, partial(self._upset, upset))
        for opened in self.arrivals:
            self._at(opened.time, partial(self._open, opened))
        self._at(BEAT_SECONDS, self._beat)

    def _turn(self) -> None:
        """Lets happen all that is due next, at one moment, then what the scheduler decides."""
        due, deadline = self._due, next_deadline(self.state)
        moment = due[0][0]
        if deadline is not None and deadline < moment:
            self.now = max(self.now, deadline)
        else:
            self.now = moment
            while due and due[0][0] == moment:
                _, _, target, epoch = heapq.heappop(due)
                if not isinstance(target, Mac):
                    target()
                elif target.epoch == epoch:
                    self._advance(target)
        self._decide()

    def _decide(self) -> None:
        for event in decide(self.state, self.now):
            self._happen(event)

    def _at(self, time: float, target: Mac | Callable[[], None], epoch: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._due, (time, self._count, target, epoch))

    def _happen(self, event: ev.Event) -> None:
        """Applies an event, and lets the Macs do what follows from it."""
        if isinstance(event, ev.AttemptEnded):
            self._end(event)
            return
        apply(self.state, event)
        if isinstance(event, ev.AttemptStarted):
            self._assign(event)
        elif isinstance(event, ev.Planned):
            self._quote(event)
        elif isinstance(event, ev.JobEnded):
            self.records.ended(event)

    def _quote(self, event: ev.Planned) -> None:
        for job_id in self.records.unquoted & event.plan.ends.keys():
            if (quote := eta(self.state, self.state.jobs[job_id], self.now)) is not None:
                self.records.quote(job_id, quote)

    # What Macs do

    def _assign(self, event: ev.AttemptStarted) -> None:
        mac, job = self._by_name[event.worker_id], self.state.jobs[event.job_id]
        if mac.is_away:
            return
        key = AttemptKey(event.job_id, event.number)
        speed = speeds()[mac.facts.chip, mac.facts.gpu_cores, job.spec.model, event.compute_unit]
        if event.attention is not VARIANTS[event.compute_unit]:
            speed = replace(speed, seconds_per_step=speed.seconds_per_step * SPLIT_ON_GPU)
        images = sorted(job.attempts[event.number].task.remaining, reverse=event.number != event.task_number)
        needs = Resident(job.spec.model, event.model_digest, event.compute_unit)
        mac.held.append(_held(key, speed, needs, job.kind.steps, images))
        self._take(mac)

    def _take(self, mac: Mac) -> None:
        noise = max(0.5, 1.0 + self.fleet.noise * self._chance.gauss(0.0, 1.0))
        if mac.take(self.now, noise):
            self._at(mac.due, mac, mac.epoch)

    def _advance(self, mac: Mac) -> None:
        """Ends what a Mac was doing."""
        if mac.task == "load":
            self.records.unproductive(mac, mac.task, mac.since, self.now, mac.held[0].key.job_id)
            took = self.now - mac.since
            self._happen(ev.ResidentsChanged(mac.worker_id, self.now, mac.finish_load()))
            self._tell_load(mac, mac.held[0].needs, took)
        elif mac.task == "image":
            self._finish_image(mac)
        else:
            mac.task = None
        self._take(mac)

    def _tell_load(self, mac: Mac, loaded: Resident, seconds: float) -> None:
        """Tells what a load took, and what memory, unless that is known."""
        peak = MODELS[loaded.model].peak_bytes
        told = Measurement(loaded.digest, loaded.compute_unit, load_seconds=seconds, peak_memory_bytes=peak)
        known = mac.facts.with_measurement(told)
        if known != mac.facts:
            mac.facts = known
            self._report(mac, MeasurementReport(told))

    def _finish_image(self, mac: Mac) -> None:
        held, began = mac.held[0], mac.since
        index = mac.finish_image()
        if mac.is_garbage:
            self.records.unproductive(mac, "image", began, self.now, held.key.job_id)
            self._report(mac, ImageFailureReport(held.key, index, RESULT_DEFECTIVE, "it is garbage"))
        elif self.faults.image_failure and self._chance.random() < self.faults.image_failure:
            self.records.unproductive(mac, "image", began, self.now, held.key.job_id)
            self._report(mac, ImageFailureReport(held.key, index, "BAD_IMAGE", "made to fail"))
        else:
            self._commit(mac, held, index, began)
        if not held.images:
            mac.held.popleft()
            self._report(mac, AttemptReport(held.key, AttemptState.SUCCEEDED))

    def _commit(self, mac: Mac, held: Held, index: int, began: float) -> None:
        committed = ev.ImageCommitted(
            job_id=held.key.job_id,
            time=self.now,
            number=held.key.number,
            index=index,
            worker_id=mac.worker_id,
            sha256="",
            size_bytes=0,
            provenance=self._provenance(mac, held),
            render_seconds=self.now - began,
            denoise_seconds=(self.now - began) * held.denoising,
        )
        try:
            self._happen(committed)
        except StaleAttemptError:
            self.records.wasted += 1
            self.records.unproductive(mac, "image", began, self.now, held.key.job_id)
            return
        self.records.committed(mac, self.state.jobs[held.key.job_id], began, self.now)

    def _provenance(self, mac: Mac, held: Held) -> Provenance:
        """One object for all images of a variant on a chip, as there may be a million."""
        facts, used = mac.facts, held.needs
        key = (facts.chip, used)
        if key not in self._provenances:
            unit = used.compute_unit
            self._provenances[key] = Provenance(
                used.model, used.digest, VARIANTS[unit], facts.runtime, unit, facts.chip, facts.chip_class, {}
            )
        return self._provenances[key]

    def _report(self, mac: Mac, report: Report) -> None:
        with suppress(StaleAttemptError):  # it came too late to count
            for event in judge(self.state, self.now, mac.worker_id, report):
                self._happen(event)

    def _end(self, event: ev.AttemptEnded) -> None:
        """Ends an attempt; a Mac that still holds it gives it up."""
        key = AttemptKey(event.job_id, event.number)
        mac = self._by_name[self.state.attempt(key).started.worker_id]
        apply(self.state, event)
        task, since = mac.task, mac.since
        if mac.cancel(self.now, key):
            self.records.unproductive(mac, task, since, self.now, event.job_id)
            self._at(mac.due, mac, mac.epoch)

    # What happens to the farm

    def _open(self, opened: ev.JobOpened) -> None:
        self._to_come -= 1
        self._happen(opened)
        self.records.opened(opened)

    def _beat(self) -> None:
        for mac in self.macs:
            if not mac.is_away:
                apply(self.state, ev.WorkerSeen(mac.worker_id, self.now))
        self._at(self.now + BEAT_SECONDS, self._beat)

    def _upset(self, upset: Upset) -> None:
        mac = self.macs[upset.mac]
        if upset.kind == "slow":
            mac.slow(self.now, upset.factor)
            if mac.task == "image":
                self._at(mac.due, mac, mac.epoch)
        elif upset.kind == "crash":
            self._crash(mac)
        elif upset.kind in ("garbage", "sound"):
            mac.is_garbage = upset.kind == "garbage"
        elif upset.kind == "leave":
            self._vanish(mac)
            mac.is_away = True
        else:
            mac.is_away = False
            self._happen(ev.WorkerJoined(mac.worker_id, self.now, mac.facts))

    def _vanish(self, mac: Mac) -> None:
        if mac.held:
            self.records.unproductive(mac, mac.task, mac.since, self.now, mac.held[0].key.job_id)
        mac.vanish()

    def _crash(self, mac: Mac) -> None:
        lost = [held.key for held in mac.held]
        self._vanish(mac)
        if not mac.is_away:
            self._happen(ev.ResidentsChanged(mac.worker_id, self.now, ()))
            for key in lost:
                self._report(mac, AttemptReport(key, AttemptState.ABANDONED, "the renderer died"))


def _factors(fleet: Fleet, chance: random.Random) -> list[float]:
    count = sum(macs.count for macs in fleet.mac)
    return [max(0.5, 1.0 + fleet.spread * chance.gauss(0.0, 1.0)) for _ in range(count)]


def _macs(fleet: Fleet, factors: list[float], units: tuple[ComputeUnit, ...], chance: random.Random) -> list[Mac]:
    made: list[Mac] = []
    for macs in fleet.mac:
        facts = chip_facts(macs.chip, macs.gpu_cores, macs.memory_gb, macs.models, units, macs.labels)
        rows = [speeds()[macs.chip, macs.gpu_cores, model, unit] for model in macs.models for unit in units]
        for _ in range(macs.count):
            number, factor = len(made), factors[len(made)]
            # A calibration is a mean over several steps, so it is less noisy than an image.
            measured = tuple(measurement(row, factor * (1 + fleet.noise * chance.gauss(0.0, 0.5))) for row in rows)
            own = replace(facts, measurements=measured) if fleet.is_calibrated else facts
            mac = Mac(number, f"mac-{number:05d}", own, factor, fleet.resident_models)
            if fleet.is_calibrated or fleet.is_compiled:
                mac.compiled.update(Resident(offer.model, offer.digest, unit) for offer in own.offers for unit in units)
            made.append(mac)
    return made


def _arrivals(workload: Workload, chance: random.Random) -> list[ev.JobOpened]:
    arrivals = [arrival for jobs in workload.job for arrival in _arrivals_of(jobs, chance)]
    arrivals.sort(key=lambda arrival: arrival[0])
    return [
        _opened(number, time, images, submitter, jobs)
        for number, (time, images, submitter, jobs) in enumerate(arrivals)
    ]


def _arrivals_of(jobs: Jobs, chance: random.Random) -> Iterable[tuple[float, int, str, Jobs]]:
    time = jobs.at
    for number in range(jobs.count):
        images = max(1, round(jobs.images * chance.expovariate(1.0))) if jobs.is_random else jobs.images
        yield time, images, jobs.submitter.replace("{n}", str(number)), jobs
        time += chance.expovariate(1.0) * jobs.every if jobs.is_random else jobs.every


def _opened(number: int, time: float, images: int, submitter: str, jobs: Jobs) -> ev.JobOpened:
    size = MODELS[jobs.model].size
    defaults = ImageSpec(prompt="simulated", seed=0, width=size, height=size, steps=jobs.steps)
    spec = JobSpec(jobs.model, priority=jobs.priority, defaults=defaults, pin=Pin(worker_labels=jobs.worker_labels))
    return ev.JobOpened(
        job_id=f"job-{number:05d}",
        time=time,
        spec=spec,
        submitter=submitter,
        priority=jobs.priority,
        image_count=images,
        pending=((0, images),),
        succeeded_count=0,
        next_attempt_number=1,
        create_time=time,
    )


def _held(key: AttemptKey, speed: Speed, needs: Resident, steps: int, images: list[int]) -> Held:
    costs, unit = MODELS[needs.model], needs.compute_unit
    return Held(
        key=key,
        needs=needs,
        seconds=speed.seconds(steps),
        step_seconds=speed.seconds_per_step,
        denoising=steps * speed.seconds_per_step / speed.seconds(steps),
        load_seconds=costs.load_seconds[unit],
        compile_seconds=costs.compile_seconds[unit],
        images=deque(images),
    )
