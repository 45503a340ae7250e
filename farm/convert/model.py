"""A checkpoint as a model folder: packages in the layout of Apple's published models, tokenizer, manifest."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from farm.catalogue.manifest import Manifest, write_manifest
from farm.convert.check import verify
from farm.convert.checkpoint import Checkpoint
from farm.convert.components import Component, components
from farm.convert.packages import save_package
from farm.convert.palettes import TOLERANCES, palettize
from farm.domain import AttentionVariant
from farm.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Form:
    """What is made of a checkpoint.

    Attributes:
        attentions: Forms of attention, each a variant of the model.
        precision: "float16" or "float32", of weights and computation.
        size: Width and height of the images in pixels; what the model was trained on if None.
        batch: Prompts that a UNet takes at once; if None, as the model needs it.
        palette_bits: Bits of a weight of text encoders and UNets, if they are to be in palettes: 8, 6 or 4.
    """

    attentions: tuple[AttentionVariant, ...] = (AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM)
    precision: str = "float16"
    size: tuple[int, int] | None = None
    batch: int | None = None
    palette_bits: int | None = None

    def components(self, checkpoint: Checkpoint, attention: AttentionVariant) -> Iterator[Component]:
        """The parts of a checkpoint in this form, with one of its forms of attention."""
        dtype = torch.float16 if self.precision == "float16" else torch.float32
        return components(checkpoint, attention, dtype=dtype, size=self.size, batch=self.batch)

    def package_count(self, checkpoint: Checkpoint) -> int:
        """How many packages come of a checkpoint."""
        networks = (checkpoint.text_encoder, checkpoint.text_encoder_2, checkpoint.unet, checkpoint.refiner)
        autoencoder = 2
        return len(self.attentions) * (sum(network is not None for network in networks) + autoencoder)


@dataclass(frozen=True, slots=True)
class Converted:
    """One finished package.

    Attributes:
        attention: Form of the model that it belongs to.
        component: Its component's name.
        package: Its folder while the conversion lasts.
        difference: Relative difference of its outputs from the checkpoint's.
    """

    attention: AttentionVariant
    component: str
    package: Path
    difference: float


def convert_model(
    checkpoint: Checkpoint,
    folder: Path,
    form: Form,
    manifest: Manifest,
    on_package: Callable[[Converted], None] = lambda _: None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> None:
    """Converts a checkpoint, checks each package, and writes a folder that the catalogue reads.

    The folder is made aside and put in place when all of it is right, so that no catalogue ever sees half a model.

    Args:
        checkpoint: The model.
        folder: Model folder to write, named as the model; forms of the model that are in it and not in `form` stay.
        form: What to make.
        manifest: What the model says of itself; its size, config and checks are filled in.
        on_package: Called when a package is finished.
        on_stage: Called with what comes next, in words.

    Raises:
        ConversionError: The checkpoint is not one that can be converted, or a package does not compute what it does.
    """
    check_size(checkpoint, form)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        shared: dict[str, Converted] = {}
        checks: dict[str, float] = {}
        for attention in form.attentions:
            for converted in _convert_variant(
                checkpoint, Path(aside), folder.resolve().name, form, attention, shared, on_stage
            ):
                checks[f"{attention.value.lower()}_{converted.component}"] = float(f"{converted.difference:.2g}")
                on_package(converted)
        for file in checkpoint.tokenizer:
            shutil.copyfile(file, Path(aside) / file.name)
        width, height = form.size or checkpoint.trained_size
        defaults = replace(manifest.defaults.over(checkpoint.defaults), width=width, height=height)
        filled = replace(manifest, defaults=defaults, config=checkpoint.config, checks=checks)
        write_manifest(Path(aside), filled)
        folder.mkdir(exist_ok=True)
        for made in Path(aside).iterdir():
            shutil.rmtree(folder / made.name, ignore_errors=True)
            made.replace(folder / made.name)


def check_size(checkpoint: Checkpoint, form: Form) -> None:
    """Refuses sizes that the networks cannot halve as often as they do.

    Raises:
        ConversionError: The size is not a multiple of what they need; says of what.
    """
    cell = checkpoint.latent_cell << (len(checkpoint.unet.config.block_out_channels) - 1)
    wrong = [str(side) for side in form.size or () if side % cell or not side]
    if wrong:
        raise ConversionError(f"the model cannot make images of {' or '.join(wrong)} pixels; take multiples of {cell}")


def _convert_variant(
    checkpoint: Checkpoint,
    folder: Path,
    name: str,
    form: Form,
    attention: AttentionVariant,
    shared: dict[str, Converted],
    on_stage: Callable[[str], None],
) -> Iterator[Converted]:
    """Makes the packages of one variant; those that no attention changes are copied from `shared` if they are there."""
    packages = folder / attention.value.lower() / "packages"
    for component in form.components(checkpoint, attention):
        package = packages / f"Stable_Diffusion_version_{name}_{component.name}.mlpackage"
        if component.name in shared:
            shutil.rmtree(package, ignore_errors=True)
            shutil.copytree(shared[component.name].package, package)
            converted = replace(shared[component.name], attention=attention, package=package)
        else:
            label = f"{attention.value.lower()} {component.name}"
            on_stage(f"Converting {label}")
            save_package(component, package)
            on_stage(f"Checking {label}")
            difference = verify(component, package)
            if form.palette_bits and not component.name.startswith("vae"):
                on_stage(f"Palettizing {label}")
                palettize(package, form.palette_bits)
                difference = verify(component, package, TOLERANCES[form.palette_bits])
            converted = Converted(attention, component.name, package, difference)
            if not component.depends_on_attention:
                shared[component.name] = converted
        yield converted
