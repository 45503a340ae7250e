"""The farm itself: coordinator, journal, gRPC, RayEngine, Ray's processes, and a worker process for each Mac."""

import argparse
import json
import logging
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from benchmarks.fleet.macs import (
    FAULT_AT,
    FLEET,
    IMAGE_BYTES,
    STEPS,
    VICTIM,
    Fault,
    Mac,
    announce_straggling,
    ideal_seconds,
    slowness,
)
from farm.carrier.security import RaySecurity, ray_token
from farm.catalogue import Catalogue
from farm.cli.logs import log_to_stderr
from farm.cli.stdin import when_stdin_ends
from farm.client import Client
from farm.domain import ComputeUnit, JobState, Measurement, WorkerFacts
from farm.worker.daemon import Inbox
from farm.worker.null_renderer import NULL_MACHINE, NullRenderer
from farm.worker.service import WorkerSettings, run_worker, stop_worker
from tests.ray.fleet import Fleet, kill_tree

CALIBRATION_IMAGES = 3


class Renderer(NullRenderer):
    """Sleeps as its Mac does, and knows from a few images at its start how long they take."""

    def __init__(self, mac: Mac, slow_from: Path) -> None:
        ask = slowness(mac, slow_from)
        models = Catalogue().models()
        super().__init__(
            models,
            seconds_per_image=mac.seconds,
            slowness=ask,
            image_bytes=IMAGE_BYTES,
            machine=replace(NULL_MACHINE, chip=mac.chip),
        )
        step_seconds = statistics.median(_timed_step(mac, ask()) for _ in range(CALIBRATION_IMAGES * STEPS))
        self._measurements = tuple(
            Measurement(variant.digest, ComputeUnit.CPU_ONLY, step_seconds, fixed_seconds=0.0, load_seconds=0.0)
            for model in models
            for variant in model.variants
        )

    @property
    def facts(self) -> WorkerFacts:
        """What it says it is, and what it measured."""
        return replace(super().facts, measurements=self._measurements)


def _timed_step(mac: Mac, slow: float) -> float:
    began = time.monotonic()
    time.sleep(slow * mac.seconds / STEPS)
    return time.monotonic() - began


class MacFleet(Fleet):
    """The fleet of the tests, with a simulated Mac behind each worker."""

    def __init__(self, folder: Path) -> None:
        self.slow_from = folder / "slow-from"
        super().__init__(folder, {mac.name: None for mac in FLEET})

    def start_worker(self, name: str) -> None:
        """Starts the worker of one Mac."""
        options = ["--mac", name, "--folder", self.folder(name), "--ray-address", self.ray_address]
        options += ["--state", self.state, "--slow-from", self.slow_from]
        self.workers[name] = self._start(name, "benchmarks.fleet.farm", *options)


def run(folder: Path, fault: Fault, images: int) -> float:
    """Seconds from the submission of so many images to the end of their job."""
    fleet = MacFleet(folder)
    try:
        fleet.wait_until_whole()
        time.sleep(2.0)  # Ray's processes come to rest
        with Client(fleet.address) as client:
            began = time.time()
            happens = began + FAULT_AT * ideal_seconds(images)
            if fault is Fault.STRAGGLER:
                announce_straggling(fleet.slow_from, happens)
            if fault is Fault.KILL:
                threading.Timer(happens - began, kill_tree, (fleet.workers[VICTIM.name].pid,)).start()
            job = client.submit(["a red circle"] * images, steps=STEPS)
            assert job.wait() is JobState.SUCCEEDED
            seconds = time.time() - began
            assert sum(len(page) for page in job.list_images()) == images
            assert fault is not Fault.KILL or fleet.workers[VICTIM.name].poll() is not None, "the victim lives"
            shares = Counter(image.worker for page in job.list_images() for image in page)
        print(json.dumps({"images": dict(sorted(shares.items()))}), file=sys.stderr)
        return seconds
    finally:
        fleet.stop()


def main() -> None:
    """Is the worker of one Mac."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--mac", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--ray-address", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--slow-from", type=Path, required=True)
    options = parser.parse_args()
    log_to_stderr(logging.INFO)
    mac = next(mac for mac in FLEET if mac.name == options.mac)
    inbox: Inbox = SimpleQueue()
    when_stdin_ends(lambda: stop_worker(inbox))
    security = RaySecurity(ray_token(options.state / "access"))
    settings = WorkerSettings(mac.name, options.folder, options.ray_address, security)
    run_worker(settings, Renderer(mac, options.slow_from), inbox)


if __name__ == "__main__":
    main()
