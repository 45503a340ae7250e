"""What watching a worker costs: the size and the time of its /metrics after 10,000 images, and the CPU of scraping it.

A stand-in renderer reports 10,000 images with all of their stages, in two models on two compute units each, to a real
worker's metrics, which a process of its own scrapes over HTTP. The CPU-seconds of a scrape every five seconds stand
beside those of the bundled model rendering in a pipeline process, measured in the same run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import psutil

from benchmarks.report import report
from farm.catalogue import Catalogue
from farm.domain import (
    Assignment,
    AttemptKey,
    AttemptState,
    AttentionVariant,
    ComputeUnit,
    ImageSpec,
    Provenance,
    RenderSpec,
    Resident,
    resolve,
)
from farm.metrics import BOTH, WORKER, Meters, measure_process
from farm.reports import (
    AttemptReport,
    ImageReport,
    Report,
    ResidencyReport,
    Stage,
    StageReport,
    StepReport,
)
from farm.runtime.select import select_runtime
from farm.worker.metering import MeteredRenderer
from farm.worker.metrics_server import serve_metrics
from farm.worker.null_renderer import NullRenderer
from farm.worker.pipeline_host import PipelineHost

IMAGES = 10_000
STEPS = 20
SCRAPES = 50
INTERVAL_SECONDS = 5.0
RENDER_SECONDS = 8.0

SIZE_GOAL = 50_000.0
TIME_GOAL = 20.0
CPU_GOAL = 0.5

SCRAPER = """
import json, sys, time, urllib.request
taken = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    size = len(urllib.request.urlopen(sys.argv[1]).read())
    taken.append(time.perf_counter() - began)
print(json.dumps({"size": size, "seconds": taken}))
"""


class StandIn(NullRenderer):
    """Reports images as a pipeline process does, as quickly as they are taken."""

    def start(self, report: Callable[[Report], None]) -> None:
        """Notes whom to tell."""
        self._tell_all = report

    def render(self, assignment: Assignment) -> None:
        """Reports the assignment from its load to its end."""
        key, tell = assignment.key, self._tell_all
        tell(StageReport(key, Stage.COMPILE))
        tell(StageReport(key, Stage.LOAD))
        tell(ResidencyReport((Resident(assignment.model, assignment.model_digest, assignment.compute_unit),)))
        how = Provenance(
            assignment.model,
            assignment.model_digest,
            AttentionVariant.ORIGINAL,
            self.facts.runtime,
            assignment.compute_unit,
            self.facts.chip,
            self.facts.chip_class,
            {},
        )
        for index, spec in assignment.images:
            tell(StageReport(key, Stage.ENCODE, index))
            tell(StageReport(key, Stage.DENOISE, index))
            for step in range(1, spec.steps + 1):
                tell(StepReport(key, index, step, spec.steps))
            tell(StageReport(key, Stage.DECODE, index))
            tell(StageReport(key, Stage.SAVE, index))
            tell(ImageReport(key, index, b"", how, 1.0))
        tell(AttemptReport(key, AttemptState.SUCCEEDED))


def assignments(images: int) -> Iterator[Assignment]:
    """So many images, in two models on two compute units each, ten to an attempt."""
    spec = RenderSpec("a red circle", "", 1, 512, 512, STEPS, 7.5, "dpmpp-2m")
    ways = [(model, unit) for model in ("sd15", "sdxl") for unit in (ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_AND_NE)]
    for number in range(images // 10):
        model, unit = ways[number % len(ways)]
        run = tuple((index, spec) for index in range(number * 10, number * 10 + 10))
        yield Assignment(AttemptKey("job", number), model, f"sha256:{model}", unit, run)


@dataclass(frozen=True, slots=True)
class Scrapes:
    """What scrapes were like.

    Attributes:
        size: Bytes of the last one.
        milliseconds: What each took, as who scraped saw it.
        cpu_seconds: What one cost the worker, on average.
    """

    size: int
    milliseconds: list[float]
    cpu_seconds: float


def scrape(meters: Meters, count: int) -> Scrapes:
    """Scrapes a worker's metrics from another process."""
    with serve_metrics("127.0.0.1:0", meters) as port:
        command = [sys.executable, "-c", SCRAPER, f"http://127.0.0.1:{port}/metrics", str(count)]
        before = time.process_time()
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        cpu_seconds = (time.process_time() - before) / count
    return Scrapes(told["size"], [seconds * 1000 for seconds in told["seconds"]], cpu_seconds)


def render_cpu(seconds: float) -> float:
    """CPU-seconds a second of the bundled model that renders in a pipeline process, for so many seconds of it."""
    model = Catalogue().get("shapes")
    variant, defaults = model.variants[0], model.defaults
    spec = resolve(ImageSpec(prompt="a red circle", seed=1), defaults, 0)
    reports: SimpleQueue[Report] = SimpleQueue()
    host = PipelineHost([model], select_runtime())
    host.start(reports.put)
    try:
        images = tuple((index, spec) for index in range(1000))
        unit = host.facts.compute_units[0]
        host.render(Assignment(AttemptKey("job", 1), model.name, variant.digest, unit, images))
        while not isinstance(reports.get(timeout=120), ImageReport):  # loaded and warm
            pass
        before, began = cpu_of_children(), time.monotonic()
        time.sleep(seconds)
        return (cpu_of_children() - before) / (time.monotonic() - began)
    finally:
        host.stop()


def cpu_of_children() -> float:
    """CPU-seconds of this process' children so far."""
    times = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return float(sum(time.user + time.system for time in times))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    meters = Meters((*BOTH, *WORKER))
    metered = MeteredRenderer(StandIn(), meters)
    metered.start(lambda _: None)
    for assignment in assignments(options.images):
        metered.render(assignment)
    with tempfile.TemporaryDirectory() as folder:
        meters.before_each(lambda: measure_process(meters, Path(folder)))
        rounds = [(scrape(meters, SCRAPES), render_cpu(RENDER_SECONDS)) for _ in range(options.repeats)]
    scrapes = [one for one, _ in rounds]
    shares = [100 * one.cpu_seconds / (INTERVAL_SECONDS * cpu) for one, cpu in rounds]
    medians = [statistics.median(one.milliseconds) for one in scrapes]
    after = f"after {options.images} images in 4 ways"
    report("metrics", "worker_size", scrapes[-1].size, "bytes", SIZE_GOAL, compared_with=after)
    report(
        "metrics",
        "worker_time",
        round(statistics.median(medians), 2),
        "ms",
        TIME_GOAL,
        compared_with=after,
        repeats=options.repeats * SCRAPES,
        spread=round(max(medians) - min(medians), 2),
    )
    cpu = statistics.median(cpu for _, cpu in rounds)
    report(
        "metrics",
        "scraping_cpu",
        round(statistics.median(shares), 3),
        "% of a render's",
        CPU_GOAL,
        compared_with=f"the bundled model rendering, {cpu:.2f} CPU-seconds a second; a scrape every 5 s",
        repeats=options.repeats,
        spread=round(max(shares) - min(shares), 3),
    )


if __name__ == "__main__":
    main()
