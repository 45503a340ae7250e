"""Time of an image of the bundled model: the farm's pipeline against diffusers' own in torch, with the same weights.

Both render the same prompt from the same seed in the same steps, in one process, in turns. The farm has two threads;
diffusers has one or two, whichever is faster in this run: torch's threads spin while they wait for one another, which
on a busy machine makes two of them many times slower. What is timed is all from the prompt to the pixels. Both must
have made the same picture, else the comparison is void.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.parity import PSNR_GOAL, SPEC, bundled_variant
from benchmarks.psnr import psnr
from benchmarks.references import DiffusersPipeline
from benchmarks.report import report
from farm.diffusion.noise import TorchRandomSource
from farm.diffusion.pipeline import Pipeline
from farm.domain import ComputeUnit, RenderSpec
from farm.runtime.portable import PortableRuntime

THREADS = 2
REPEATS = 15
GOAL = 0.6

Render = Callable[[RenderSpec], NDArray[np.uint8]]


def main() -> None:
    """Renders in turns and reports the median of the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=REPEATS, help="images of each")
    repeats = arguments.parse_args().repeats
    import torch

    with tempfile.TemporaryDirectory() as cache:
        variant = bundled_variant(Path(cache) / "digests.json")
    pipeline = Pipeline.load(variant, PortableRuntime(threads=THREADS), ComputeUnit.CPU_ONLY)
    reference = DiffusersPipeline()
    runs: dict[str, Render] = {
        "farm": lambda spec: render(pipeline, spec),
        "diffusers": lambda spec: reference.render(spec, variant.config),
    }
    theirs = min(range(1, THREADS + 1), key=lambda threads: _seconds(runs["diffusers"], threads))
    torch.set_num_threads(theirs)
    agreement = psnr(*(run(SPEC) for run in runs.values()))
    wall, cpu = measure(runs, repeats)
    for clock, seconds in (("wall", wall), ("cpu", cpu)):
        _report(clock, seconds, agreement, theirs)


def _seconds(run: Render, threads: int) -> float:
    """Wall seconds of the faster of two images with so many of torch's threads."""
    import torch

    torch.set_num_threads(threads)
    run(SPEC)
    wall, _ = measure({"": run}, 2)
    return min(wall[""])


def render(pipeline: Pipeline, spec: RenderSpec) -> NDArray[np.uint8]:
    """Renders with the farm's pipeline; pixels (height, width, 3)."""
    steps = pipeline.render(spec, TorchRandomSource)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            pixels: NDArray[np.uint8] = end.value.pixels
            return pixels


def measure(runs: dict[str, Render], repeats: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds an image of each, for each repeat; they take turns, the first changing each time."""
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, run in list(runs.items())[:: 1 if repeat % 2 else -1]:
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            run(replace(SPEC, seed=SPEC.seed + repeat))
            wall[name].append(time.perf_counter() - wall_start)
            cpu[name].append(time.process_time() - cpu_start)
    return wall, cpu


def _report(clock: str, seconds: dict[str, list[float]], agreement: float, threads: int) -> None:
    ratios = [ours / theirs for ours, theirs in zip(seconds["farm"], seconds["diffusers"], strict=True)]
    theirs, ours = (statistics.median(seconds[name]) for name in ("diffusers", "farm"))
    report(
        "image_time",
        f"{clock} time of an image relative to diffusers in torch",
        round(statistics.median(ratios), 3),
        "ratio",
        GOAL if agreement >= PSNR_GOAL else 0.0,
        compared_with=f"diffusers: {theirs:.2f} s, farm: {ours:.2f} s; {SPEC.width}x{SPEC.height}, {SPEC.steps} steps, "
        f"{THREADS} threads (diffusers: {threads}), load {os.getloadavg()[0]:.1f}; "
        f"the pictures agree within {agreement:.0f} dB",
        repeats=len(ratios),
        spread=round(max(ratios) - min(ratios), 3),
    )


if __name__ == "__main__":
    main()
