"""Memory and time of loading a big model: Stable Diffusion 1.5's UNet, 860 million fp16 weights, in a fresh process.

The UNet is made here once, with random weights: same shapes, same operations, same 1.7 GB. Each repeat is a process of
its own, of which the operating system tells the peak. Pages of a mapped file count as soon as they are touched, though
the system can drop them at any time, so what is anonymous and what is a file's is told apart. Since loading only maps
the weights, the peak of a process that predicts as well is told too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import report

MEMORY_GOAL_GB = 6.0
SECONDS_GOAL = 20.0

UNET: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
}
"""What distinguishes Stable Diffusion 1.5's UNet from diffusers' defaults."""

SHAPES = {"sample": (2, 4, 64, 64), "timestep": (2,), "encoder_hidden_states": (2, 768, 1, 77)}


def main() -> None:
    """Loads the UNet in one process after another and reports the worst memory and the median time."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--package", type=Path, help="the UNet's package; without it one is made: 5 minutes, 8 GB")
    arguments.add_argument("--repeats", type=int, default=3, help="how often it is loaded")
    arguments.add_argument("--load-only", action="store_true", help="do not predict as well, which takes minutes")
    arguments.add_argument("--child", choices=("load", "predict"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        print(json.dumps(load_once(given.package, predicts=given.child == "predict")))
        return
    with tempfile.TemporaryDirectory() as folder:
        package = given.package or make_unet(Path(folder) / "unet.mlpackage")
        read_through(package)
        size = f"a package of {size_gb(package):.2f} GB, in the page cache"
        loads = [run_child(package, "load") for _ in range(given.repeats)]
        _report_worst("while it loads", "load", loads, size)
        _report_time([run["seconds"] for run in loads], size)
        if not given.load_only:
            _report_worst("while it loads and predicts", "predict", [run_child(package, "predict")], size)


def _report_worst(when: str, kind: str, runs: list[dict[str, float]], size: str) -> None:
    goal = MEMORY_GOAL_GB
    for figure, key in (
        (f"peak memory {when}", "peak_gb"),
        (f"memory after {kind}, anonymous", "anonymous_gb"),
        (f"memory after {kind}, pages of mapped files", "file_gb"),
    ):
        values = [run[key] for run in runs if key in run]
        if values:
            report("load_memory", figure, round(max(values), 3), "GB", goal if key == "peak_gb" else None,
                   compared_with=size, repeats=len(values), spread=round(max(values) - min(values), 3))  # fmt: skip


def _report_time(seconds: list[float], size: str) -> None:
    report("load_memory", "time to load, imports included", round(statistics.median(seconds), 2), "s", SECONDS_GOAL,
           compared_with=size, repeats=len(seconds), spread=round(max(seconds) - min(seconds), 2))  # fmt: skip


def run_child(package: Path, task: str) -> dict[str, float]:
    """Has a fresh process load a package, or predict with it as well.

    Returns:
        What it tells, and "peak_gb", its peak memory, from the operating system.

    Raises:
        RuntimeError: The process failed.
    """
    command = [sys.executable, "-m", "benchmarks.load_memory", "--child", task, "--package", str(package)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"the process that loads ended with {child.returncode}; see what it wrote above")
    unit = 1 if sys.platform == "darwin" else 1024
    return {**json.loads(told), "peak_gb": usage.ru_maxrss * unit / 1e9}


def load_once(package: Path, *, predicts: bool) -> dict[str, float]:
    """Loads a package: seconds from the start of this function, and memory by kind where the system tells it."""
    start = time.perf_counter()
    from farm.runtime.portable import load

    model = load(package)
    seconds = time.perf_counter() - start
    if predicts:
        rng = np.random.default_rng(0)
        model.predict({name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()})
    return {"seconds": seconds} | memory_by_kind()


def memory_by_kind() -> dict[str, float]:
    """Anonymous and file-backed memory of this process in GB, on Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {
        f"{kind}_gb": int(fields[field].split()[0]) * 1024 / 1e9
        for kind, field in (("anonymous", "RssAnon"), ("file", "RssFile"))
    }


def read_through(package: Path) -> None:
    """Reads all of a package, so that it lies in the page cache as after a first use."""
    for path in package.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def size_gb(package: Path) -> float:
    """Size of a package's files in GB."""
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) / 1e9


def make_unet(path: Path) -> Path:
    """Converts a UNet with Stable Diffusion 1.5's shapes and random weights to a package."""
    import torch
    from diffusers import UNet2DConditionModel

    from farm.convert.components import Component, Unet
    from farm.convert.packages import save_package
    from farm.domain import AttentionVariant

    torch.manual_seed(0)
    module = Unet(UNet2DConditionModel(**UNET), AttentionVariant.ORIGINAL)
    inputs = {name: torch.randn(shape).half() for name, shape in SHAPES.items()}
    save_package(Component("unet", module, inputs, ("noise_pred",)), path)
    return path


if __name__ == "__main__":
    main()
