"""What the farm makes of eight unlike Macs, beside what Ray's own ways of spreading work make of them.

Each run has processes of its own and a new fleet; the ways take turns within a round. The machine must be quiet: eight
Macs and Ray share its cores, and the load before each run is printed.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fleet.macs import IMAGES, Fault, bound_seconds, ideal_seconds
from benchmarks.report import report

WAYS = {
    "oracle": ("benchmarks.fleet.oracle", "run"),
    "farm": ("benchmarks.fleet.farm", "run"),
    "actor_pool": ("benchmarks.fleet.baselines", "actor_pool"),
    "static_split": ("benchmarks.fleet.baselines", "static_split"),
    "ray_data": ("benchmarks.fleet.baselines", "ray_data"),
}
BASELINES = ("actor_pool", "static_split", "ray_data")
RUN_SECONDS = 300.0

Makespans = dict[tuple[str, Fault], list[float]]


def measured(way: str, fault: Fault, images: int) -> float:
    """One run in processes of its own."""
    command = [sys.executable, "-m", "benchmarks.fleet", "--run", way, "--fault", fault.value, "--images", str(images)]
    load = os.getloadavg()[0]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS, check=True)
    seconds: float = json.loads(process.stdout.splitlines()[-1])
    line = {"way": way, "fault": fault.value, "seconds": round(seconds, 2), "load_before": round(load, 2)}
    print(json.dumps(line), file=sys.stderr, flush=True)
    return seconds


def tell(makespans: Makespans, images: int, repeats: int) -> None:
    """Prints the figures of all rounds."""
    for fault in Fault:
        if ("farm", fault) not in makespans:
            continue
        farm = makespans["farm", fault]
        if fault is Fault.NONE and ("oracle", fault) in makespans:
            ratios = [oracle / ours for ours, oracle in zip(farm, makespans["oracle", fault], strict=True)]
            ceiling = statistics.median(ideal_seconds(images) / seconds for seconds in makespans["oracle", fault])
            _tell(
                fault,
                "of_oracle",
                ratios,
                0.98,
                repeats,
                f"an oracle, itself {ceiling:.3f} of the fluid bound",
                smaller=False,
            )
        bound = bound_seconds(images, fault)
        goal = {Fault.NONE: None, Fault.KILL: 0.96, Fault.STRAGGLER: 0.95}[fault]
        _tell(fault, "of_bound", [bound / ours for ours in farm], goal, repeats, "the fluid bound", smaller=False)
        for way in BASELINES:
            if (way, fault) in makespans:
                goal = 0.92 if way == "actor_pool" and fault is not Fault.NONE else 1.0
                theirs = makespans[way, fault]
                worst = worst_round(farm, theirs)
                beside = f"{way}, round by round"
                if ("oracle", fault) in makespans:
                    beside += f"; the oracle's own: {worst_round(makespans['oracle', fault], theirs):.3f}"
                _tell(fault, f"worst_round_over_{way}", [worst], goal, repeats, beside)


def worst_round(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest of the ratios of makespans that were measured in the same round."""
    return max(our / their for our, their in zip(ours, theirs, strict=True))


def _tell(
    fault: Fault,
    figure: str,
    values: list[float],
    goal: float | None,
    repeats: int,
    beside: str,
    *,
    smaller: bool = True,
) -> None:
    report(
        "fleet",
        f"{fault.value}_{figure}",
        round(statistics.median(values), 3),
        "ratio",
        goal,
        compared_with=beside,
        repeats=repeats,
        spread=round(max(values) - min(values), 3) if len(values) > 1 else None,
        smaller_is_better=smaller,
    )


def main() -> None:
    """Measures and prints, or is one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--faults", default=",".join(fault.value for fault in Fault), help="of none,kill,straggler")
    parser.add_argument("--ways", default=",".join(WAYS), help="of " + ",".join(WAYS))
    parser.add_argument("--run", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--fault", type=Fault, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        module, function = WAYS[options.run]
        with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
            seconds = getattr(importlib.import_module(module), function)(Path(folder), options.fault, options.images)
        print(json.dumps(seconds), flush=True)
        return
    if "ray_data" in options.ways.split(",") and importlib.util.find_spec("pandas") is None:
        parser.error("Ray Data is not installed: pip install -e '.[benchmarks]', or leave ray_data out of --ways")
    makespans: Makespans = {}
    for _ in range(options.rounds):
        for fault in map(Fault, options.faults.split(",")):
            for way in options.ways.split(","):
                makespans.setdefault((way, fault), []).append(measured(way, fault, options.images))
    tell(makespans, options.images, options.rounds)


if __name__ == "__main__":
    main()
