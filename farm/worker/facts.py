"""What a renderer says of itself when it joins."""

from collections.abc import Mapping, Sequence

from farm import installation
from farm.domain import ComputeUnit, Model, ModelOffer, WorkerFacts
from farm.worker.probe import Machine

COMPILED_RUNTIME = "coreml"
"""The runtime that can run models which were compiled for Macs."""


def worker_facts(
    machine: Machine,
    models: Sequence[Model],
    runtime: str,
    compute_units: tuple[ComputeUnit, ...],
    labels: Mapping[str, str],
) -> WorkerFacts:
    """Joins what the machine is with what it can render; arguments as the fields of `WorkerFacts`."""
    return WorkerFacts(
        chip=machine.chip,
        chip_class=machine.chip_class,
        gpu_cores=machine.gpu_cores,
        performance_cores=machine.performance_cores,
        has_ane=machine.has_ane,
        memory_bytes=machine.memory_bytes,
        os=machine.os,
        runtime=runtime,
        # A virtual machine and Rosetta have no Neural Engine, though Core ML takes the unit's name there.
        compute_units=tuple(unit for unit in compute_units if machine.has_ane or unit is not ComputeUnit.CPU_AND_NE),
        offers=model_offers(models, runtime),
        version=installation.version(),
        labels=labels,
    )


def model_offers(models: Sequence[Model], runtime: str) -> tuple[ModelOffer, ...]:
    """What a runtime can render with of these models."""
    return tuple(
        ModelOffer(variant.model, variant.attention, variant.digest, variant.width, variant.height, variant.precision)
        for model in models
        for variant in model.variants
        if runtime == COMPILED_RUNTIME or not variant.is_compiled
    )
