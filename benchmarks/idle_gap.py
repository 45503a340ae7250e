"""How long a Ray worker waits between two images of 500 KB each, over all images of a batch.

The real coordinator, journal, RayEngine, Ray's processes and a worker's daemon in a process of its own; a renderer that
sleeps and notes when each image began and ended. Beside it, in the same run, LocalEngine with the same renderer.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

from benchmarks.report import report
from farm.carrier.security import RaySecurity, ray_token
from farm.catalogue import Catalogue
from farm.cli.local_fleet import free_ray_address
from farm.cli.stdin import when_stdin_ends
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Engine, LocalEngine
from farm.coordinator.ray_engine import RayEngine, RaySettings
from farm.domain import ImageSpec, JobSpec
from farm.reports import ImageReport, Report, Stage, StageReport
from farm.worker.daemon import Inbox
from farm.worker.null_renderer import NullRenderer
from farm.worker.service import WorkerSettings, run_worker, stop_worker

IMAGES = 600
SECONDS_PER_IMAGE = 0.03
IMAGE_BYTES = 500_000
P50_GOAL = 3.0
P99_GOAL = 20.0


class NotingRenderer(NullRenderer):
    """Delivers large files, and notes how long it waited before each image but the first."""

    def __init__(self) -> None:
        super().__init__(Catalogue().models(), seconds_per_image=SECONDS_PER_IMAGE, image_bytes=IMAGE_BYTES)
        self.gaps: list[float] = []
        self._ended: float | None = None

    def start(self, report: Callable[[Report], None]) -> None:
        """Starts; what it reports passes by here."""

        def note(told: Report) -> None:
            if isinstance(told, StageReport) and told.stage is Stage.DENOISE and self._ended is not None:
                self.gaps.append(time.monotonic() - self._ended)
            elif isinstance(told, ImageReport):
                self._ended = time.monotonic()
            report(told)

        super().start(note)


def run_noting_worker(address: str, folder: Path) -> None:
    """A worker's process: runs until standard input ends, then writes its gaps."""
    renderer = NotingRenderer()
    inbox: Inbox = SimpleQueue()
    when_stdin_ends(lambda: stop_worker(inbox))
    run_worker(WorkerSettings("worker", folder, address, RaySecurity(ray_token(folder.parent))), renderer, inbox)
    (folder / "gaps.json").write_text(json.dumps(renderer.gaps))


async def render(folder: Path, engine: Engine, images: int) -> None:
    """Has a batch rendered."""
    catalogue = Catalogue()
    async with Coordinator.open(folder, catalogue, engine) as coordinator:
        spec = JobSpec(catalogue.models()[0].name, defaults=ImageSpec(prompt="a red circle", steps=1))
        submission = await coordinator.open_submission(spec, "benchmark", "", images)
        await submission.add([ImageSpec()] * images)
        job_id = await submission.accept()
        await submission.abandon()
        async for _ in coordinator.watch(job_id, 0):
            pass
        job = await coordinator.job(job_id)
        assert job.succeeded_count == images, f"{job.succeeded_count} of {images} images were rendered"


def gaps_over_ray(folder: Path, images: int) -> list[float]:
    """Seconds between each two images of a worker behind Ray."""
    address = free_ray_address()
    worker = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.idle_gap", "--worker", address, "--folder", str(folder / "worker")],
        stdin=subprocess.PIPE,
    )
    try:
        asyncio.run(render(folder / "ray", RayEngine(RaySettings(address, RaySecurity(ray_token(folder)))), images))
    finally:
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait(30)
    gaps: list[float] = json.loads((folder / "worker" / "gaps.json").read_text())
    return whole(gaps, images)


def gaps_here(folder: Path, images: int) -> list[float]:
    """The same without Ray."""
    renderer = NotingRenderer()
    asyncio.run(render(folder / "local", LocalEngine(renderer), images))
    return whole(renderer.gaps, images)


def whole(gaps: list[float], images: int) -> list[float]:
    """The gaps, if there is one between each two images: a longest one that is missing would be the best of figures."""
    assert len(gaps) >= images - 1, f"{len(gaps)} gaps between {images} images"
    return gaps


def milliseconds(gaps: Sequence[float], percent: int) -> float:
    """A percentile of seconds, in milliseconds."""
    return round(1000 * statistics.quantiles(gaps, n=100)[percent - 1], 2)


def main() -> None:
    """Measures and prints, or is a worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", metavar="RAY_ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_noting_worker(options.worker, options.folder)
        return
    over_ray, here = [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            over_ray.append(gaps_over_ray(Path(folder), options.images))
            here.append(gaps_here(Path(folder), options.images))
    for percent, goal in ((50, P50_GOAL), (99, P99_GOAL)):
        figures = [milliseconds(gaps, percent) for gaps in over_ray]
        local = statistics.median(milliseconds(gaps, percent) for gaps in here)
        report(
            "idle_gap",
            f"ray_500kb_p{percent}",
            statistics.median(figures),
            "ms",
            goal,
            compared_with=f"LocalEngine {local} ms",
            repeats=options.repeats,
            spread=round(max(figures) - min(figures), 2),
        )


if __name__ == "__main__":
    main()
