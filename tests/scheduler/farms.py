"""Small farms for tests of placement: several models, Macs of unlike speed, and a hand that lets them render."""

from farm.domain import (
    AttemptState,
    AttentionVariant,
    ChipClass,
    ComputeUnit,
    ImageSpec,
    JobSpec,
    Measurement,
    ModelOffer,
    Pin,
    Resident,
    WorkerFacts,
)
from farm.reports import AttemptReport, ImageFailureReport, Report
from farm.scheduler import events as ev
from farm.scheduler.scheduler import decide, judge
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from tests.builders import image_committed


def offer(model: str) -> ModelOffer:
    return ModelOffer(model, AttentionVariant.ORIGINAL, f"sha256:{model}", 64, 64)


def facts(seconds: dict[str, float], memory_gb: int = 16, peak_gb: int = 0, **labels: str) -> WorkerFacts:
    """A machine on which an image of ten steps of each model takes so long."""
    return WorkerFacts(
        chip=f"Chip {sorted(seconds.items())}",
        chip_class=ChipClass.CPU,
        gpu_cores=0,
        performance_cores=1,
        has_ane=False,
        memory_bytes=memory_gb << 30,
        os="test",
        runtime="portable",
        compute_units=(ComputeUnit.CPU_ONLY,),
        offers=tuple(offer(model) for model in seconds),
        version="0",
        labels=labels,
        measurements=tuple(
            Measurement(f"sha256:{model}", ComputeUnit.CPU_ONLY, cost / 10, 0.0, 1.0, 0.0, peak_gb << 30)
            for model, cost in seconds.items()
        ),
    )


class Farm:
    """A state and what happens to it."""

    def __init__(self) -> None:
        self.state = FarmState()
        self.now = 0.0
        self.started: list[ev.AttemptStarted] = []
        self.failed = 0

    def join(self, worker_id: str, machine: WorkerFacts) -> None:
        apply(self.state, ev.WorkerJoined(worker_id, self.now, machine))

    def submit(
        self,
        job_id: str,
        model: str,
        images: int,
        submitter: str = "alice",
        priority: int = 0,
        pin: Pin | None = None,
        steps: int = 10,
    ) -> None:
        defaults = ImageSpec(prompt="x", seed=0, width=64, height=64, steps=steps)
        spec = JobSpec(model, priority=priority, defaults=defaults, pin=pin or Pin())
        opened = ev.JobOpened(
            job_id, self.now, spec, submitter, priority, images, ((0, images),), 0, 1, create_time=self.now
        )
        apply(self.state, opened)

    def decide(self) -> list[ev.AttemptStarted]:
        """Decides until nothing more follows; gives what was started."""
        new = []
        for event in decide(self.state, self.now):
            apply(self.state, event)
            if isinstance(event, ev.AttemptStarted):
                new.append(event)
        self.started += new
        return new

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for worker_id in self.state.workers:
            apply(self.state, ev.WorkerSeen(worker_id, self.now))

    def load(self, worker_id: str) -> None:
        """Lets a worker load what its first attempt needs, in place of what it has."""
        key = self.state.workers[worker_id].attempts[0]
        started = self.state.attempt(key).started
        model = self.state.jobs[key.job_id].spec.model
        resident = Resident(model, started.model_digest, started.compute_unit)
        apply(self.state, ev.ResidentsChanged(worker_id, self.now, (resident,)))

    def finish(self, worker_id: str, seconds: float = 1.0) -> None:
        """Lets a worker render all of its first attempt, each image in so many seconds."""
        key = self.state.workers[worker_id].attempts[0]
        for index in sorted(self.state.attempt(key).task.remaining):
            self.pass_time(seconds)
            apply(self.state, self.image(key.job_id, key.number, index, worker_id, seconds))
        for event in judge(self.state, self.now, worker_id, AttemptReport(key, AttemptState.SUCCEEDED)):
            apply(self.state, event)

    def fail(self, worker_id: str, *, is_crash: bool = False) -> None:
        """Lets a worker fail every image of its first attempt, or have its renderer die over the first of them."""
        key = self.state.workers[worker_id].attempts[0]
        images = sorted(self.state.attempt(key).task.remaining)
        reports: list[Report] = [ImageFailureReport(key, index, "BAD", "it is bad") for index in images]
        end = AttemptReport(key, AttemptState.SUCCEEDED)
        if is_crash:
            reports, end = [], AttemptReport(key, AttemptState.ABANDONED, "the renderer died", images[0])
        self.pass_time(0.1)
        for report in [*reports, end]:
            for event in judge(self.state, self.now, worker_id, report):
                apply(self.state, event)
                self.failed += isinstance(event, ev.ImageFailed) and event.is_final

    def image(self, job_id: str, number: int, index: int, worker_id: str, seconds: float) -> ev.ImageCommitted:
        return image_committed(job_id, number, index, worker_id, self.now, seconds)

    def jobs_of(self, worker_id: str) -> set[str]:
        return {key.job_id for key in self.state.workers[worker_id].attempts}
