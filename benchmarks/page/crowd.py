"""A farm of 500 workers and 100,000 images, none of which was rendered: python -m benchmarks.page.crowd FOLDER.

The journal is written with the farm's own, the workers live in the coordinator's process and report steps and images as
Macs would. Prints where the page is, as JSON; stops when standard input ends.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from farm.access.access import Access
from farm.access.tokens import Role
from farm.api.reach import Reach
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import EngineMessage, Heartbeat, Joined, Receive, Reported
from farm.coordinator.journal_file import encode_spec
from farm.coordinator.storage import Storage
from farm.domain import Assignment, AttemptKey, AttemptState, ChipClass, ImageSpec, JobState, Model
from farm.errors import ModelNotFoundError
from farm.reports import AttemptReport, ImageReport, Stage, StageReport, StepReport
from farm.scheduler import events as ev
from farm.web.server import WebServer
from tests.builders import MODEL, PROVENANCE, job_opened, png, worker_facts

WORKERS = 500
IMAGES = 100_000
JOB_IMAGES = 1000
STEPS = 20
SECONDS_PER_IMAGE = 20.0
BEAT_SECONDS = 2.0
LIVE_IMAGES = 50_000

_CHIPS = (("Apple M2", ChipClass.ANE, 10), ("Apple M2 Max", ChipClass.GPU, 38), ("Apple M1", ChipClass.ANE, 8))
_PNG = png()


class OneModel:
    """A catalogue with the model that nobody renders."""

    def models(self) -> Sequence[Model]:
        """That one."""
        return (MODEL,)

    def get(self, name: str) -> Model:
        """That one, by its name."""
        if name != MODEL.name:
            raise ModelNotFoundError(f"There is no model {name}.", model=name)
        return MODEL


class Crowd:
    """An engine whose workers take their time and make the same image over and over."""

    def __init__(self) -> None:
        self._lines = {f"mac-{number:03d}": asyncio.Queue[Assignment]() for number in range(WORKERS)}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, receive: Receive) -> None:
        """Lets every worker join and begin."""
        for number, (name, line) in enumerate(self._lines.items()):
            chip, chip_class, cores = _CHIPS[number % len(_CHIPS)]
            facts = replace(worker_facts(chip_class), chip=chip, gpu_cores=cores, memory_bytes=32 << 30)
            receive(Joined(name, facts))
            self._tasks.append(asyncio.create_task(self._work(receive, name, line, random.Random(number))))
        self._tasks.append(asyncio.create_task(self._beat(receive)))

    async def _beat(self, receive: Receive) -> None:
        while True:
            for name in self._lines:
                receive(Heartbeat(name))
            await asyncio.sleep(BEAT_SECONDS)

    async def _work(self, receive: Receive, name: str, line: "asyncio.Queue[Assignment]", rng: random.Random) -> None:
        def say(report: StageReport | StepReport | ImageReport | AttemptReport) -> None:
            message: EngineMessage = Reported(name, report)
            receive(message)

        while True:
            assignment = await line.get()
            for index, _ in assignment.images:
                say(StageReport(assignment.key, Stage.DENOISE, index))
                for step in range(1, STEPS + 1):
                    await asyncio.sleep(SECONDS_PER_IMAGE / STEPS * rng.uniform(0.8, 1.2))
                    say(StepReport(assignment.key, index, step, STEPS))
                say(ImageReport(assignment.key, index, _PNG, PROVENANCE, SECONDS_PER_IMAGE))
            say(AttemptReport(assignment.key, AttemptState.SUCCEEDED))

    def assign(self, worker_id: str, assignment: Assignment) -> None:
        """Gives a worker its next images."""
        self._lines[worker_id].put_nowait(assignment)

    def cancel(self, worker_id: str, key: AttemptKey) -> None:
        """Nothing is ever cancelled here."""

    def release(self, worker_id: str, key: AttemptKey) -> None:
        """Nothing is ever taken back here."""

    def acknowledge(self, worker_id: str, number: int) -> None:
        """Nothing waits to be acknowledged here."""

    async def stop(self) -> None:
        """Ends the workers."""
        for task in self._tasks:
            task.cancel()


def past_job(number: int, now: float) -> Iterator[ev.DurableEvent]:
    """What became of a job that ended some time ago: each of its runs by another worker."""
    job_id, rng = f"past-{number:04d}", random.Random(number)
    opened = job_opened(job_id, JOB_IMAGES, now)
    yield opened
    for index in range(JOB_IMAGES):
        worker = (number * 7 + index // 20) % WORKERS
        chip_class = _CHIPS[worker % len(_CHIPS)][1]
        yield ev.ImageCommitted(
            job_id=job_id,
            time=now + index,
            number=1 + index // 20,
            index=index,
            worker_id=f"mac-{worker:03d}",
            sha256="0" * 64,
            size_bytes=len(_PNG),
            provenance=replace(PROVENANCE, chip_class=chip_class),
            render_seconds=rng.uniform(10, 30),
        )
    yield ev.JobEnded(job_id, now + JOB_IMAGES, JobState.SUCCEEDED, "", JOB_IMAGES, 0, now, 1 + JOB_IMAGES // 20, ())


def write_past(folder: Path) -> None:
    """Fills a state folder with 100,000 images; the files of a job are links to its first."""
    storage, sequence, jobs = Storage(folder), 0, IMAGES // JOB_IMAGES
    for number in range(jobs):
        events = list(past_job(number, time.time() - (jobs - number) * JOB_IMAGES / 4))
        job_id = f"past-{number:04d}"
        storage.journal.stage(job_id, "")
        prompts = [ImageSpec(prompt=f"a red circle, number {number} {index}") for index in range(JOB_IMAGES)]
        storage.journal.stage_entries(job_id, 0, [encode_spec(spec) for spec in prompts])
        storage.journal.append(list(enumerate(events, sequence + 1)))
        sequence += len(events)
        first, *others = (storage.artifacts.path(job_id, index, 1 + index // 20) for index in range(JOB_IMAGES))
        first.parent.mkdir(parents=True)
        first.write_bytes(_PNG)
        for path in others:
            os.link(first, path)
    storage.close()


async def serve(folder: Path) -> None:
    """Runs the farm until standard input ends."""
    async with Coordinator.open(folder, OneModel(), Crowd()) as coordinator:
        submission = await coordinator.open_submission(
            job_opened().spec, submitter="benchmark", request_id="", entry_count=LIVE_IMAGES
        )
        for _ in range(LIVE_IMAGES // JOB_IMAGES):
            await submission.add([ImageSpec(prompt="a red circle")] * JOB_IMAGES)
        await submission.accept()
        access = Access.open(folder)
        web = await WebServer.start(Reach("127.0.0.1:0"), coordinator, OneModel(), access)
        secret = access.tokens.create(Role.ADMIN, "benchmark")[1]
        print(json.dumps({"page": web.urls[0], "token": secret}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await web.stop()


if __name__ == "__main__":
    write_past(Path(sys.argv[1]))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1])))
