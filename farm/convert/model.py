"""A diffusers folder as a model folder: packages in the layout of Apple's published models, tokenizer, manifest."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farm.catalogue.layout import TOKENIZER_FILES
from farm.catalogue.manifest import Manifest, config_problems, write_manifest
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
        package: Its folder while the conversion lasts.
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

    The folder is made aside and put in place when all of it is right, so that no catalogue ever sees half a model.

    Args:
        checkpoint: diffusers folder of a Stable Diffusion 1.x or 2.x model.
        folder: Model folder to write; forms of the model that are in it and not in `attentions` stay there.
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        shared: dict[str, Converted] = {}
        for attention in attentions:
            for converted in _convert_variant(loaded, Path(aside), name, attention, shared):
                on_package(converted)
        for file in tokenizer:
            shutil.copyfile(file, Path(aside) / file.name)
        defaults = replace(manifest.defaults, width=loaded.pixel_side, height=loaded.pixel_side)
        write_manifest(Path(aside), replace(manifest, defaults=defaults, config=config))
        folder.mkdir(exist_ok=True)
        for made in Path(aside).iterdir():
            shutil.rmtree(folder / made.name, ignore_errors=True)
            made.replace(folder / made.name)


def read_config(checkpoint: Path) -> DiffusionConfig:
    """What a pipeline must know of a checkpoint, from its scheduler's, autoencoder's and tokenizer's own files.

    Raises:
        ConversionError: One of the files is missing or unreadable, or tells of a diffusion that the farm does not know.
    """
    scheduler = _json(checkpoint / "scheduler" / "scheduler_config.json")
    autoencoder = _json(checkpoint / "vae" / "config.json")
    pad_token = _json(checkpoint / "tokenizer" / "tokenizer_config.json").get("pad_token", DiffusionConfig().pad_token)
    values = {
        "scaling_factor": autoencoder.get("scaling_factor", DiffusionConfig().scaling_factor),
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        "beta_start": scheduler.get("beta_start"),
        "beta_end": scheduler.get("beta_end"),
        "beta_schedule": scheduler.get("beta_schedule"),
        "train_steps": scheduler.get("num_train_timesteps"),
        "steps_offset": scheduler.get("steps_offset", 0),
        "pad_token": pad_token["content"] if isinstance(pad_token, dict) else pad_token,
    }
    problems = config_problems(values)
    if problems:
        raise ConversionError(
            f"{checkpoint} was trained with a diffusion that the farm does not sample ({'; '.join(problems)}); "
            "only models like Stable Diffusion 1.x and 2.x can be converted"
        )
    return DiffusionConfig(**values)


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
