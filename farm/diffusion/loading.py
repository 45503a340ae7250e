"""Loads a component of a model, in however many packages it comes."""

from farm.domain import ComputeUnit, ModelVariant
from farm.runtime.base import LoadedModel, Runtime
from farm.runtime.chain import Chain


def load_component(variant: ModelVariant, component: str, runtime: Runtime, compute_unit: ComputeUnit) -> LoadedModel:
    """Loads a component that a variant has.

    Args:
        variant: The variant.
        component: Name of the component; "unet" also where it comes in two halves.
        runtime: What to load it with.
        compute_unit: Processors to use.

    Raises:
        PackageError: A package of it cannot be read or run, or two are halves of different models.
    """
    loaded = [
        runtime.load(variant.components[part], compute_unit, variant.functions.get(part))
        for part in variant.parts_of(component)
    ]
    return loaded[0] if len(loaded) == 1 else Chain(loaded)
