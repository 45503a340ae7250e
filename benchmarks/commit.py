"""How many images a second the coordinator commits: each stored, flushed, renamed, and journalled.

The engine takes no time and delivers 4 KB files as fast as they are taken. Beside it, in the same run and folder, the
machine's ceiling: the same number of files written, flushed and renamed by as many threads, with no farm around them.
"""

import argparse
import asyncio
import io
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.report import report
from farm.catalogue import Catalogue
from farm.coordinator.artifacts import FILES_PER_FOLDER, WRITERS
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import HEARTBEAT_SECONDS, EngineMessage, Heartbeat, Joined, Receive, Reported
from farm.domain import (
    Assignment,
    AttemptKey,
    AttemptState,
    ChipClass,
    ComputeUnit,
    ImageSpec,
    JobSpec,
    Model,
    ModelOffer,
    Provenance,
    WorkerFacts,
)
from farm.reports import AttemptReport, ImageReport

PNG_BYTES = 4096
RATE_GOAL = 1000.0
RATIO_GOAL = 0.6
WORKERS = 4


def padded_png(width: int, height: int) -> bytes:
    """A PNG of that size that is padded to about 4 KB."""
    info = PngInfo()
    info.add_text("padding", "x" * (PNG_BYTES - 200))
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


class InstantEngine:
    """Workers that have every image ready before they are asked for it."""

    def __init__(self, model: Model) -> None:
        variant = model.variants[0]
        self._offer = ModelOffer(model.name, variant.attention, variant.digest, variant.width, variant.height)
        self._provenance = Provenance(
            model=model.name,
            model_digest=variant.digest,
            attention=variant.attention,
            runtime="null",
            compute_unit=ComputeUnit.CPU_ONLY,
            chip="none",
            chip_class=ChipClass.CPU,
            versions={},
        )
        self._png = padded_png(variant.width, variant.height)
        self._receive: Receive | None = None
        self._heart: asyncio.Task[None] | None = None

    async def start(self, receive: Receive) -> None:
        """Joins its workers."""
        self._receive = receive
        facts = WorkerFacts(
            chip="none",
            chip_class=ChipClass.CPU,
            gpu_cores=0,
            performance_cores=1,
            has_ane=False,
            memory_bytes=1,
            os="none",
            runtime="null",
            compute_units=(ComputeUnit.CPU_ONLY,),
            offers=(self._offer,),
            version="none",
        )
        for number in range(WORKERS):
            receive(Joined(f"w{number}", facts))
        self._heart = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for number in range(WORKERS):
                self._say(Heartbeat(f"w{number}"))

    def assign(self, worker_id: str, assignment: Assignment) -> None:
        """Delivers the whole assignment as soon as the loop comes round."""
        for index, _ in assignment.images:
            self._say(Reported(worker_id, ImageReport(assignment.key, index, self._png, self._provenance, 0.001)))
        self._say(Reported(worker_id, AttemptReport(assignment.key, AttemptState.SUCCEEDED)))

    def _say(self, message: EngineMessage) -> None:
        assert self._receive is not None
        asyncio.get_running_loop().call_soon(self._receive, message)

    def cancel(self, worker_id: str, key: AttemptKey) -> None:
        """There is nothing to stop."""

    def release(self, worker_id: str, key: AttemptKey) -> None:
        """There is nothing to give back."""

    def acknowledge(self, worker_id: str, number: int) -> None:
        """Nothing is kept."""

    async def stop(self) -> None:
        """Its workers fall silent."""
        if self._heart:
            self._heart.cancel()


async def commit_rate(folder: Path, count: int) -> float:
    """Images a second from acceptance to the last commit of a job of `count`."""
    catalogue = Catalogue(cache=folder / "digests.json")
    model = catalogue.models()[0]
    async with Coordinator.open(folder / "state", catalogue, InstantEngine(model)) as coordinator:
        spec = JobSpec(model.name, defaults=ImageSpec(prompt="nothing"))
        submission = await coordinator.open_submission(spec, "benchmark", "", count)
        for _ in range(0, count, 1000):
            await submission.add([ImageSpec()] * min(1000, count))
        started = time.perf_counter()
        job_id = await submission.accept()
        while not (job := await coordinator.job(job_id)).state.is_final:  # noqa: ASYNC110 - asks as a client would
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - started
        assert job.succeeded_count == count, f"{job.succeeded_count} of {count} images were committed"
        return count / seconds


def ceiling(folder: Path, count: int) -> float:
    """Files a second that the machine itself writes, flushes and renames, in folders as the farm's."""
    folders = [folder / str(number) for number in range(-(-count // FILES_PER_FOLDER))]
    for place in folders:
        place.mkdir(parents=True)
    started = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(partial(_write, folders), range(count)))
    return count / (time.perf_counter() - started)


def _write(folders: list[Path], number: int) -> None:
    path = folders[number // FILES_PER_FOLDER] / str(number)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as stream:
        stream.write(bytes(PNG_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def main() -> None:
    """Measures, interleaved, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000, help="images a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rates, ceilings = [], []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            rates.append(asyncio.run(commit_rate(Path(folder), arguments.images)))
            ceilings.append(ceiling(Path(folder) / "bare", arguments.images))
    tell = partial(report, "commit", repeats=arguments.repeats, smaller_is_better=False)
    spread = max(rates) - min(rates)
    tell("commit_rate", round(statistics.median(rates)), "images/s", RATE_GOAL, compared_with="nothing", spread=spread)
    bare = round(statistics.median(ceilings))
    tell("bare_fsync_rename_rate", bare, "files/s", None, compared_with="nothing", spread=max(ceilings) - min(ceilings))
    ratios = [rate / bare for rate, bare in zip(rates, ceilings, strict=True)]
    ratio = round(statistics.median(ratios), 3)
    tell("ratio", ratio, "1", RATIO_GOAL, compared_with="bare fsync+rename", spread=max(ratios) - min(ratios))


if __name__ == "__main__":
    main()
