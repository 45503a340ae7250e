"""How soon a coordinator takes jobs again after it was killed in the middle of a thousand of them.

The state: 1,000 live jobs of 100 images, half of which are committed, in any order; 500 attempts were running. It is
written with the farm's own journal, by events that its state machine takes; the image files are there. Each repeat
starts the real process on a copy, and ends when a new job is accepted. Beside it: the same with nothing to replay.
"""

import argparse
import hashlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.report import report
from farm.catalogue import Catalogue
from farm.cli.demo import farm_process, read_address
from farm.client import Client
from farm.coordinator.journal_file import encode_spec
from farm.coordinator.storage import Storage
from farm.domain import AttemptState, ChipClass, ComputeUnit, ImageSpec, JobSpec, Model, Provenance
from farm.scheduler import events as ev
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply

JOBS, IMAGES, RUNNING = 1000, 100, 500
SECONDS_GOAL = 5.0
PNG = os.urandom(4096)
SHA256 = hashlib.sha256(PNG).hexdigest()


def job_events(model: Model, number: int, rng: random.Random) -> Iterator[ev.DurableEvent]:
    """What has happened to one job: an attempt at all of it, half done, and in every second job still running."""
    variant = model.variants[0]
    job_id, worker_id, now = f"job-{number:04d}", f"w{number}", time.time()
    provenance = Provenance(
        model=model.name,
        model_digest=variant.digest,
        attention=variant.attention,
        runtime="null",
        compute_unit=ComputeUnit.CPU_ONLY,
        chip="none",
        chip_class=ChipClass.CPU,
        versions={},
    )
    yield ev.JobOpened(
        job_id=job_id,
        time=now,
        spec=JobSpec(model.name, defaults=ImageSpec(seed=0).over(model.defaults)),
        submitter="benchmark",
        priority=0,
        image_count=IMAGES,
        pending=((0, IMAGES),),
        succeeded_count=0,
        next_attempt_number=1,
        create_time=now,
    )
    yield ev.AttemptStarted(
        job_id=job_id,
        time=now,
        number=1,
        task_number=1,
        worker_id=worker_id,
        first_index=0,
        image_count=IMAGES,
        model_digest=variant.digest,
        compute_unit=ComputeUnit.CPU_ONLY,
        attention=variant.attention,
    )
    for index in rng.sample(range(IMAGES), IMAGES // 2):
        yield ev.ImageCommitted(job_id, now, 1, index, worker_id, SHA256, len(PNG), provenance, 1.0)
    if number >= RUNNING:
        yield ev.AttemptEnded(job_id, now, 1, AttemptState.ABANDONED, "the Mac went to sleep")


def write_state(folder: Path, model: Model) -> None:
    """Fills a state folder."""
    rng = random.Random(0)
    state, sequence = FarmState(), 0
    storage = Storage(folder)
    for number in range(JOBS):
        written: list[tuple[int, ev.DurableEvent]] = []
        for event in job_events(model, number, rng):
            apply(state, event)
            sequence += 1
            written.append((sequence, event))
            if isinstance(event, ev.ImageCommitted):
                path = storage.artifacts.path(event.job_id, event.index, event.number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(PNG)
        job_id = written[0][1].job_id  # type: ignore[union-attr]  # the first opens the job
        storage.journal.stage(job_id, "")
        storage.journal.stage_entries(
            job_id, 0, [encode_spec(ImageSpec(prompt=f"a red circle, number {index}")) for index in range(IMAGES)]
        )
        storage.journal.append(written)
    storage.close()
    assert sum(len(job.attempts) for job in state.jobs.values()) == RUNNING


def copy_state(state: Path, copy: Path) -> Path:
    """Copies a state folder. Images are linked: a coordinator removes files and makes new ones, but changes none."""
    shutil.copytree(state, copy, ignore=shutil.ignore_patterns("images"))
    shutil.copytree(state / "images", copy / "images", copy_function=os.link)
    return copy


def seconds_to_accept(state: Path, jobs: int) -> float:
    """From the start of the process to the acceptance of a new job, beside so many that it must know of."""
    started = time.perf_counter()
    with farm_process(state, null_renderer=True) as process:
        with Client(read_address(process, state)) as client:
            client.submit("a red circle")
            seconds = time.perf_counter() - started
            known = len(list(client.jobs()))
        process.kill()
    assert known == jobs + 1, f"it knows of {known} jobs and should of {jobs + 1}"
    return seconds


def main() -> None:
    """Measures, interleaved, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    times: list[float] = []
    empty_times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_state(folder / "state", Catalogue().models()[0])
        for number in range(repeats):
            copy = copy_state(folder / "state", folder / f"state-{number}")
            times.append(seconds_to_accept(copy, JOBS))
            shutil.rmtree(copy)
            empty = folder / f"empty-{number}"
            empty.mkdir()
            empty_times.append(seconds_to_accept(empty, 0))
    tell = partial(report, "restart", repeats=repeats)
    bare = statistics.median(empty_times)
    tell(
        "seconds_to_accept",
        round(statistics.median(times), 2),
        "s",
        SECONDS_GOAL,
        compared_with=f"an empty state folder, {bare:.2f} s",
        spread=round(max(times) - min(times), 2),
    )


if __name__ == "__main__":
    main()
