"""The portable runtime against onnxruntime on a direct export, and against torch: the bundled UNet, one thread.

All three run in one process on the same feeds, in turns, so that whatever else the machine does hits them alike.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import report
from farm.catalogue.catalogue import BUNDLED
from farm.runtime.portable import load

CHECKPOINT = Path(__file__).parent.parent / "examples" / "shapes" / "model"
PACKAGE = "shapes/original/packages/Stable_Diffusion_version_shapes_unet.mlpackage"

REPEATS = 40
PREDICTIONS = 10
"""Predictions a repeat."""

Feeds = Mapping[str, NDArray[np.float32]]
Predict = Callable[[], NDArray[Any]]


def main() -> None:
    """Measures all three and reports the ratios of their processor and wall time."""
    feeds = make_feeds()
    unet = torch_unet()
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Predict] = {
            "portable": portable(feeds),
            "onnxruntime": exported(unet, feeds, Path(folder) / "unet.onnx"),
            "torch": eager(unet, feeds),
        }
        reference = runs["torch"]()
        for name, run in runs.items():
            assert np.abs(run() - reference).max() < 1e-2, f"{name} computes something else"
        cpu, wall = measure(runs)
    for name, goal in (("onnxruntime", 1.10), ("torch", 0.70)):
        for clock, seconds in (("cpu", cpu), ("wall", wall)):
            ratios = [ours / theirs for ours, theirs in zip(seconds["portable"], seconds[name], strict=True)]
            report(
                "portable",
                f"unet_{clock}_time_relative_to_{name}",
                round(statistics.median(ratios), 3),
                "ratio",
                goal,
                compared_with=f"{name}: {statistics.median(seconds[name]) * 1e3:.2f} ms a prediction",
                repeats=REPEATS,
                spread=round(max(ratios) - min(ratios), 3),
            )


def measure(runs: Mapping[str, Predict]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Processor and wall seconds a prediction of each, for each repeat; they take turns."""
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        for _ in range(PREDICTIONS):
            run()
    for _ in range(REPEATS):
        for name, run in runs.items():
            run()  # the one before left its own data in the caches
            cpu_start, wall_start = time.process_time(), time.perf_counter()
            for _ in range(PREDICTIONS):
                run()
            cpu[name].append((time.process_time() - cpu_start) / PREDICTIONS)
            wall[name].append((time.perf_counter() - wall_start) / PREDICTIONS)
    return cpu, wall


def make_feeds() -> Feeds:
    """Noise in the shapes that the bundled UNet takes."""
    rng = np.random.default_rng(0)
    return {
        "sample": rng.standard_normal((2, 4, 8, 8)).astype(np.float32),
        "timestep": np.array([500, 500], np.float32),
        "encoder_hidden_states": rng.standard_normal((2, 96, 1, 77)).astype(np.float32),
    }


def torch_unet() -> Any:
    """The checkpoint that the package was converted from, with the package's interface."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.set_num_threads(1)

    class PackageInterface(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = UNet2DConditionModel.from_pretrained(CHECKPOINT, subfolder="unet", torch_dtype=torch.float32)

        def forward(self, sample: Any, timestep: Any, encoder_hidden_states: Any) -> Any:
            hidden = encoder_hidden_states.squeeze(2).transpose(1, 2)
            return self.unet(sample, timestep, hidden, return_dict=False)[0]

    return PackageInterface().eval()


def portable(feeds: Feeds) -> Predict:
    """The bundled package in the portable runtime."""
    model = load(BUNDLED / PACKAGE, threads=1)
    return lambda: model.predict(feeds)["noise_pred"]


def exported(unet: Any, feeds: Feeds, path: Path) -> Predict:
    """The export that torch makes of the checkpoint, in onnxruntime."""
    import onnxruntime
    import torch

    example = tuple(torch.tensor(array) for array in feeds.values())
    torch.onnx.export(unet, example, path, input_names=list(feeds), output_names=["noise_pred"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the portable runtime has it
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)[0]


def eager(unet: Any, feeds: Feeds) -> Predict:
    """The checkpoint in torch, run as it is written."""
    import torch

    def run() -> NDArray[Any]:
        with torch.inference_mode():
            result: NDArray[Any] = unet(*(torch.from_numpy(array) for array in feeds.values())).numpy()
        return result

    return run


if __name__ == "__main__":
    main()
