"""`farm convert`: a checkpoint becomes a model that the farm renders with."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from farm.catalogue.manifest import Manifest
from farm.cli.output import console, print_json
from farm.convert import BITS
from farm.domain import SAMPLERS, AttentionVariant, ImageSpec
from farm.errors import ConversionError

if TYPE_CHECKING:
    from farm.convert.model import Converted

ATTENTIONS: Mapping[str, AttentionVariant] = {
    "original": AttentionVariant.ORIGINAL,
    "split-einsum": AttentionVariant.SPLIT_EINSUM,
}

PRECISIONS = {"fp16": "float16", "fp32": "float32"}

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _attentions(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[AttentionVariant, ...]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in ATTENTIONS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)} is not one of {', '.join(ATTENTIONS)}")
    return tuple(dict.fromkeys(ATTENTIONS[name] for name in names))


def _size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text)
    if not match:
        raise click.BadParameter(f"{text!r} is not a size; write WIDTHxHEIGHT in pixels, for example 768x512")
    return int(match[1]), int(match[2])


def _model_folder(_context: click.Context, _parameter: click.Parameter, folder: Path) -> Path:
    """Lets only names pass under which the catalogue will find the model."""
    name = folder.resolve().name
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise click.BadParameter(
            f"the model is named after its folder, and {name!r} is not one word of small letters, digits and hyphens"
        )
    return folder


@click.command(
    epilog="""\b
Examples:
  farm convert stable-diffusion-v1-5/ --out ~/models/sd-1-5
  farm convert dreamshaper.safetensors --like stable-diffusion-v1-5/ --out ~/models/dreamshaper
  farm convert sdxl-turbo/ --out ~/models/sdxl-turbo --unet-batch 1 --steps 1
  farm convert sdxl-base/ --refiner sdxl-refiner/ --attention original --out ~/models/sdxl
  FARM_MODELS=~/models farm up"""
)
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    callback=_model_folder,
    help="The model's folder, which is created; its last part is the model's name.",
)
@click.option(
    "--attention",
    "attentions",
    default="original,split-einsum",
    show_default=True,
    callback=_attentions,
    help="Forms to make: original favours GPUs, split-einsum the Neural Engine.",
)
@click.option(
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    default="fp16",
    show_default=True,
    help="Precision of weights and computation.",
)
@click.option(
    "--palettize",
    type=click.Choice([str(bits) for bits in BITS]),
    help="Bits per weight of text encoders and UNets: a half, three eighths or a quarter of the size.",
)
@click.option("--size", metavar="WxH", callback=_size, help="Size of the images.  [default: the trained one]")
@click.option(
    "--unet-batch",
    type=click.IntRange(1, 2),
    help="Prompts that the UNet takes at once; 1 is faster without guidance.  [default: as the model needs]",
)
@click.option(
    "--like",
    type=FOLDER,
    help="For a single file: diffusers folder of a model of the same architecture; its weights are not needed.",
)
@click.option("--vae", type=FOLDER, help="diffusers folder of another autoencoder, for example TAESD's.")
@click.option("--refiner", type=FOLDER, help="diffusers folder of the SDXL refiner that is to finish the images.")
@click.option("--display-name", default="", help="Display name of the model.")
@click.option("--description", default="", help="What the model is and who made it.")
@click.option("--steps", type=int, help="Default number of steps.  [default: as its scheduler suggests]")
@click.option("--guidance-scale", type=float, help="Default guidance scale.")
@click.option("--sampler", type=click.Choice(SAMPLERS), metavar="NAME", help="Default sampler.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object that says what was made.")
def convert(
    checkpoint: Path,
    out: Path,
    attentions: tuple[AttentionVariant, ...],
    precision: str,
    palettize: str | None,
    size: tuple[int, int] | None,
    unet_batch: int | None,
    like: Path | None,
    vae: Path | None,
    refiner: Path | None,
    display_name: str,
    description: str,
    as_json: bool,
    **defaults: Any,
) -> None:
    """Convert CHECKPOINT into Core ML packages, and check them against it.

    CHECKPOINT is a diffusers folder, or with --like a .safetensors or .ckpt file, of Stable Diffusion 1.x, 2.x, SDXL or
    its refiner, SD-Turbo, SDXL-Turbo, SDXS, LCM or Hyper-SD. No code of a checkpoint is run. Every package is run by
    the portable runtime and compared with torch, and the conversion fails if they disagree; how closely they agree is
    written into the model's model.toml.

    Works on Linux and macOS, and needs the farm's [convert] extra. A large model takes minutes and about four times the
    memory of its UNet.
    """
    # Progress is told by package; the bars of the libraries beneath would cover it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        from farm.convert.checkpoint import load_folder
        from farm.convert.model import Form, convert_model
        from farm.convert.single_file import load_file
    except ImportError as error:
        raise ConversionError(
            f"Converting needs {error.name}, which is not installed here. Install the farm's extra for that, in the "
            "farm's folder: .venv/bin/pip install -e '.[convert]'"
        ) from error
    form = Form(attentions, PRECISIONS[precision], size, unet_batch, int(palettize) if palettize else None)
    manifest = Manifest(
        display_name=display_name or out.resolve().name, description=description, defaults=ImageSpec(**defaults)
    )
    made: list[Converted] = []
    screen = console(error=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task("Reading the checkpoint", total=None)
        if checkpoint.is_file():
            loaded = load_file(checkpoint, like, refiner=refiner, vae=vae)
        else:
            loaded = load_folder(checkpoint, refiner=refiner, vae=vae)

        def on_package(converted: "Converted") -> None:
            made.append(converted)
            if not as_json:
                label = f"{converted.attention.value.lower()} {converted.component}"
                screen.print(f"{label:28} differs from torch by {converted.difference:.1e}")

        def on_stage(stage: str) -> None:
            progress.update(bar, description=stage, completed=len(made), total=form.package_count(loaded))

        convert_model(loaded, out, form, manifest, on_package, on_stage)
    if as_json:
        packages = [
            {"attention": each.attention.value, "component": each.component, "difference": each.difference}
            for each in made
        ]
        print_json({"model": out.resolve().name, "folder": str(out), "packages": packages})
    else:
        click.echo(f"{out} is ready. Render with it: FARM_MODELS={out.resolve().parent} farm up")
