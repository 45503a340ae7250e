"""A diffusers folder as a model folder: packages in the layout of Apple's published models, tokenizer, manifest."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farm.catalogue.layout import TOKENIZER_FILES
from farm.catalogue.manifest import Manifest, write_manifest
from farm.convert.check import verify
from farm.convert.components import Checkpoint, components, load_checkpoint
from farm.convert.packages import save_package
from farm.domain import AttentionVariant, DiffusionConfig
from farm.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Converted:
    """One finished package.

    Attributes:
        attention: Form of the model that it belongs to.
        component: Its component's name.
        package: Its folder.
        difference: Relative difference of its outputs from the checkpoint's.
    """

    attention: AttentionVariant
    component: str
    package: Path
    difference: float


def convert_model(
    checkpoint: Path,
    folder: Path,
    name: str,
    attentions: Sequence[AttentionVariant],
    manifest: Manifest,
    on_package: Callable[[Converted], None],
) -> None:
    """Converts a checkpoint, checks each package, and writes a folder that the catalogue reads.

    Args:
        checkpoint: diffusers folder of a Stable Diffusion 1.x or 2.x model.
        folder: Model folder to write; packages of the same name in it are replaced.
        name: The model's name, as it stands in the packages' file names.
        attentions: Forms to make.
        manifest: What the model says of itself; its size and config are taken from the checkpoint instead.
        on_package: Called when a package is finished.

    Raises:
        ConversionError: The checkpoint is not one that can be converted, or a package does not compute what it does.
    """
    # What may be missing is looked for first: conversions take minutes.
    config = read_config(checkpoint)
    tokenizer = [_existing(checkpoint / "tokenizer" / file) for file in TOKENIZER_FILES]
    loaded = load_checkpoint(checkpoint)
    shared: dict[str, Converted] = {}
    for attention in attentions:
        for converted in _convert_variant(loaded, folder, name, attention, shared):
            on_package(converted)
    for file in tokenizer:
        shutil.copyfile(file, folder / file.name)
    defaults = replace(manifest.defaults, width=loaded.pixel_side, height=loaded.pixel_side)
    write_manifest(folder, replace(manifest, defaults=defaults, config=config))


def read_config(checkpoint: Path) -> DiffusionConfig:
    """What a pipeline must know of a checkpoint, from its scheduler's, autoencoder's and tokenizer's own files.

    Raises:
        ConversionError: One of the files is missing or unreadable.
    """
    scheduler = _json(checkpoint / "scheduler" / "scheduler_config.json")
    pad_token = _json(checkpoint / "tokenizer" / "tokenizer_config.json").get("pad_token", DiffusionConfig().pad_token)
    return DiffusionConfig(
        scaling_factor=_json(checkpoint / "vae" / "config.json").get(
            "scaling_factor", DiffusionConfig().scaling_factor
        ),
        prediction_type=scheduler.get("prediction_type", "epsilon"),
        beta_start=scheduler["beta_start"],
        beta_end=scheduler["beta_end"],
        beta_schedule=scheduler["beta_schedule"],
        train_steps=scheduler["num_train_timesteps"],
        steps_offset=scheduler.get("steps_offset", 0),
        pad_token=pad_token["content"] if isinstance(pad_token, dict) else pad_token,
    )


def _convert_variant(
    checkpoint: Checkpoint, folder: Path, name: str, attention: AttentionVariant, shared: dict[str, Converted]
) -> Iterator[Converted]:
    """Makes the packages of one form; those that no attention changes are copied from `shared`, if they are there."""
    packages = folder / attention.value.lower() / "packages"
    for component in components(checkpoint, attention):
        package = packages / f"Stable_Diffusion_version_{name}_{component.name}.mlpackage"
        if component.name in shared:
            shutil.rmtree(package, ignore_errors=True)
            shutil.copytree(shared[component.name].package, package)
            converted = replace(shared[component.name], attention=attention, package=package)
        else:
            save_package(component, package)
            converted = Converted(attention, component.name, package, verify(component, package))
            if component.name != "unet":
                shared[component.name] = converted
        yield converted


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise ConversionError(f"{file} is missing, so the checkpoint is not complete; fetch it again")
    return file


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(_existing(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{file} is not JSON ({error}); fetch the checkpoint again") from error
    assert isinstance(values, dict)
    return values
