"""Trials: what a variant takes on a compute unit of this machine, before anybody has to wait for it.

Where a machine has more than one unit to choose from, each is timed on the model's own packages, in the variant that
suits it. Published figures say which is likely to be faster, and between 15 and 23 GPU cores not even that.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from statistics import median, quantiles
from typing import Protocol

from farm.diffusion.pipeline import Rendered
from farm.domain import (
    FAVOURED,
    PROPER_VARIANTS,
    ComputeUnit,
    Measurement,
    Model,
    ModelVariant,
    RenderSpec,
    WorkerFacts,
)
from farm.worker.memory import Gauge
from farm.worker.messages import Calibrate, Trial
from farm.worker.probe import Machine

STEPS = 8
"""Steps that are timed."""

FIRST_SECONDS = 900.0
"""A machine of which it is not known what it favours measures for so long before it renders."""

IDLE_SECONDS = 20.0
"""Any other waits until it had nothing to do for so long; and so does what is left after FIRST_SECONDS."""


class Pipeline(Protocol):
    """What renders an image: `farm.diffusion.pipeline.Pipeline`."""

    def render(self, spec: RenderSpec) -> Generator[object, None, Rendered]:
        """Renders an image; yields after each step."""


def units_to_try(machine: Machine, units: Iterable[ComputeUnit]) -> tuple[ComputeUnit, ...]:
    """The units among which there is a choice: not ALL, which never won, nor the CPU alone beside a Neural Engine."""
    unwanted = {ComputeUnit.ALL} | ({ComputeUnit.CPU_ONLY} if machine.has_ane else set())
    return tuple(unit for unit in units if unit not in unwanted)


def trials(machine: Machine, models: Iterable[Model], units: Iterable[ComputeUnit]) -> Iterator[Trial]:
    """What there is to measure: each size of each model on each unit, in the variant that suits the unit.

    The unit that the chip favours comes first: if work comes in between, one that is known to be the slower one would
    seem better than one of which nothing is known. A variant whose packages alone are larger than the machine's memory
    is left out.
    """
    tried = sorted(units_to_try(machine, units), key=lambda unit: unit is not FAVOURED.get(machine.chip_class))
    for model in models:
        roomy = [one for one in model.variants if one.size_bytes <= (machine.memory_bytes or one.size_bytes)]
        for size in sorted({(variant.width, variant.height) for variant in roomy}):
            of_size = [variant for variant in roomy if (variant.width, variant.height) == size]
            for unit in tried:
                proper = PROPER_VARIANTS[unit]
                fitting = sorted(
                    (variant for variant in of_size if variant.attention in proper),
                    key=lambda variant: proper.index(variant.attention),
                )
                if fitting:
                    yield Trial(fitting[0].digest, unit, _spec(model, fitting[0]))


def missing(machine: Machine, models: Iterable[Model], facts: WorkerFacts) -> Calibrate:
    """The trials that a worker runs by itself: those not yet made, and none where there is nothing to choose.

    They run when that costs least, or first where nothing else says what the machine favours.
    """
    known = {(one.digest, one.compute_unit) for one in facts.measurements if one.is_trial}
    has_choice = len(units_to_try(machine, facts.compute_units)) > 1
    wanted = trials(machine, models, facts.compute_units) if has_choice else ()
    return Calibrate(
        tuple(trial for trial in wanted if (trial.digest, trial.compute_unit) not in known),
        FIRST_SECONDS if machine.is_between else 0.0,
        IDLE_SECONDS,
    )


def _spec(model: Model, variant: ModelVariant) -> RenderSpec:
    """A picture with the model's own guidance, which decides how often its UNet runs a step."""
    guidance_scale = model.defaults.guidance_scale
    return RenderSpec(
        prompt="a photograph of a red circle",
        negative_prompt="",
        seed=0,
        width=variant.width,
        height=variant.height,
        steps=STEPS + 1,
        guidance_scale=7.5 if guidance_scale is None else guidance_scale,
        sampler="euler",
    )


def measure(trial: Trial, load: Callable[[], Pipeline], gauge: Gauge, after_step: Callable[[int], None]) -> Measurement:
    """Runs a trial: loads twice, renders a picture to warm up, then one that counts.

    Args:
        trial: The trial.
        load: Loads the variant for the unit, in place of whatever is loaded, and restarts the gauge in between.
        gauge: Measures this process's memory.
        after_step: Called after each step that counts, with its number; may raise to give the trial up.
    """
    first_load, pipeline = _timed(load)
    peak = gauge.look()
    del pipeline  # or it would be held while the next one is loaded
    load_seconds, pipeline = _timed(load)
    gauge.look()
    for _ in pipeline.render(replace(trial.spec, prompt="to warm up", steps=1)):
        gauge.look()
    steps, seconds = _render(pipeline, trial.spec, gauge, after_step)
    low, middle, high = quantiles(steps[1:], n=4)
    return Measurement(
        digest=trial.digest,
        compute_unit=trial.compute_unit,
        seconds_per_step=middle,
        fixed_seconds=max(0.0, seconds - trial.spec.steps * median(steps[1:])),
        load_seconds=load_seconds,
        compile_seconds=max(0.0, first_load - load_seconds),
        peak_memory_bytes=max(peak, gauge.look()),
        spread_seconds=high - low,
    )


def _timed(load: Callable[[], Pipeline]) -> tuple[float, Pipeline]:
    began = time.perf_counter()
    pipeline = load()
    return time.perf_counter() - began, pipeline


def _render(
    pipeline: Pipeline, spec: RenderSpec, gauge: Gauge, after_step: Callable[[int], None]
) -> tuple[list[float], float]:
    """Seconds of each step, the first with what comes before it, and of the whole picture."""
    steps: list[float] = []
    paused = 0.0
    began = last = time.perf_counter()
    for _ in pipeline.render(spec):
        now = time.perf_counter()
        steps.append(now - last)
        gauge.look()
        after_step(len(steps))
        last = time.perf_counter()
        paused += last - now
    return steps, time.perf_counter() - began - paused
