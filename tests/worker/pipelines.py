"""Pipelines that behave as models may: a process that is given one of them misbehaves in a known way.

What a pipeline does follows from the image's prompt, so that a test says it where it submits the image: "crash at 3"
ends the process at step 3, "hold 0.5 at 2" sleeps half a second with the GIL held, "sleep 60 at 1" without it,
"sleep 0.1 at each" a little at every step.
"""

import ctypes
import os
import re
import signal
import time
from collections.abc import Callable, Generator

import numpy as np

from farm.diffusion.pipeline import Rendered
from farm.domain import ComputeUnit, ModelVariant, RenderSpec
from farm.errors import ImageFailedError, PackageError
from farm.reports import Stage
from farm.runtime.base import Runtime


def hold_the_gil(seconds: float) -> None:
    """What Core ML's Python bridge does during `predict`."""
    usleep = ctypes.PyDLL(None).usleep
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        usleep(int(min(left, 0.9) * 1e6))


def crash(_: float) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def raise_error(_: float) -> None:
    raise RuntimeError("the accelerator said no")


def fail(_: float) -> None:
    raise ImageFailedError("all latents are NaN")


ACTIONS: dict[str, Callable[[float], None]] = {
    "hold": hold_the_gil,
    "sleep": time.sleep,
    "crash": crash,
    "raise": raise_error,
    "fail": fail,
}


class ScriptedPipeline:
    """Does what the prompt says, and notes when it began and ended each image."""

    def __init__(self, on_stage: Callable[[Stage], None]) -> None:
        self._on_stage = on_stage

    def render(self, spec: RenderSpec) -> Generator[None, None, Rendered]:
        began = time.monotonic()
        self._on_stage(Stage.ENCODE)
        self._on_stage(Stage.DENOISE)
        script = re.findall(r"(\w+)(?: ([\d.]+))? at (\d+|each)", spec.prompt)
        for step in range(1, spec.steps + 1):
            for action, amount, at in script:
                if at in ("each", str(step)):
                    ACTIONS[action](float(amount or 0))
            yield
        self._on_stage(Stage.DECODE)
        pixels = np.random.default_rng(spec.seed).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
        return Rendered(pixels, np.zeros((1, 4, 1, 1), np.float32), (repr(began), repr(time.monotonic())))


def scripted(
    variant: ModelVariant, runtime: Runtime, compute_unit: ComputeUnit, on_stage: Callable[[Stage], None]
) -> ScriptedPipeline:
    on_stage(Stage.COMPILE)
    on_stage(Stage.LOAD)
    return ScriptedPipeline(on_stage)


def broken(
    variant: ModelVariant, runtime: Runtime, compute_unit: ComputeUnit, on_stage: Callable[[Stage], None]
) -> ScriptedPipeline:
    on_stage(Stage.COMPILE)
    raise PackageError("weight.bin is cut short")


def slow_to_compile(
    variant: ModelVariant, runtime: Runtime, compute_unit: ComputeUnit, on_stage: Callable[[Stage], None]
) -> ScriptedPipeline:
    on_stage(Stage.COMPILE)
    hold_the_gil(2)
    return scripted(variant, runtime, compute_unit, on_stage)
