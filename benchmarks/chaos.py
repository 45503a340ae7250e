"""A large batch while processes die, hang and lose their disks: is every image there once, and whole?

Real processes on this machine: a coordinator, four workers with renderers that need no device, Ray between them, files
with real bytes. Every few seconds something of it is killed, stopped, filled up or drained, by a random choice that
a seed repeats; a fault counts where it took effect. In the end the images are pulled, and an audit that shares no code
with the farm looks at the folder, the journal and the file that was submitted.
"""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import report
from farm.client import Client
from tests.audit.check import Damage
from tests.disks import mounted
from tests.ray.batch import Batch
from tests.ray.chaos import FAULTS, chaos
from tests.ray.fleet import SECONDS_PER_IMAGE, running_fleet
from tests.ray.odd_worker import Oddity

WORKERS: Mapping[str, Oddity | None] = {"one": None, "two": None, "three": None, "scripted": Oddity.SCRIPTED}
"""The first has a small disk of its own; the last one a pipeline process, whose pictures are noise."""

PROMPT = f"number {{}}, sleep {SECONDS_PER_IMAGE} at 1"
SMALL_MEGABYTES = 8
PATIENCE_SECONDS = 2 * 3600.0

LOST = {Damage.LOST, Damage.MISSING, Damage.COUNT, Damage.JOURNAL, Damage.MANIFEST}
TWICE = {Damage.TWICE, Damage.ORPHAN, Damage.FENCE}


def main() -> None:
    """Measures and prints; the logs of a run that is not clean are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--every", type=float, default=4.0, metavar="SECONDS", help="from a fault's end to the next, on average"
    )
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="farm-chaos-"))
    with mounted(folder / "one", SMALL_MEGABYTES), running_fleet(folder, WORKERS) as fleet:
        batch = Batch(fleet, folder, given.images, PROMPT.format, begun=0)
        began = time.monotonic()
        with chaos(fleet, given.seed, given.every, given.faults) as harm:
            batch.wait_for_end(PATIENCE_SECONDS)
            seconds = time.monotonic() - began
        batch.pull()
        findings = batch.findings()
        with Client(fleet.address) as client:
            failed = client.job(batch.name).message.failed_count
    compared_with = f"{given.images} images on 4 workers, seed {given.seed}, {given.every:g} s from a fault to the next"
    for finding in findings:
        print(finding)
    if findings:
        print(f"The logs are in {folder}.")
    else:
        shutil.rmtree(folder)
    found = Counter(finding.damage for finding in findings)
    corrupt = set(Damage) - LOST - TWICE
    for figure, damages in (("lost", LOST), ("twice", TWICE), ("corrupt", corrupt)):
        count = sum(found[damage] for damage in damages)
        report("chaos", figure, count, "images", 0, compared_with=compared_with)
    report("chaos", "failed", failed, "images", 0, compared_with="images that were given up, with a reason")
    for fault, tried in sorted(harm.tried.items()):
        words = f"{tried} were tried; one that found nothing to harm does not count"
        report("chaos", fault, harm.done[fault], "faults", None, compared_with=words)
    without = given.images * SECONDS_PER_IMAGE / len(WORKERS)
    words = f"{without:.0f} s if nothing went wrong and nothing but rendering took time"
    report("chaos", "makespan", round(seconds, 1), "s", None, compared_with=words)


if __name__ == "__main__":
    main()
