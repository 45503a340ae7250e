"""`python -m farm.convert DIFFUSERS_DIR --name NAME --out DIR`: makes a model folder from a checkpoint."""

import os
import re
from pathlib import Path

import click

from farm.catalogue.manifest import STABLE_DIFFUSION_DEFAULTS, Manifest
from farm.domain import AttentionVariant, ImageSpec
from farm.errors import FarmError

ATTENTIONS = {"original": AttentionVariant.ORIGINAL, "split-einsum": AttentionVariant.SPLIT_EINSUM}


def parse_attentions(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[AttentionVariant, ...]:
    """Reads "original,split-einsum"."""
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in ATTENTIONS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)} is not one of {', '.join(ATTENTIONS)}")
    return tuple(ATTENTIONS[name] for name in names)


def check_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Lets only names pass under which the catalogue will find the model."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise click.BadParameter(f"{name!r} is not one word of small letters, digits and hyphens")
    return name


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", required=True, callback=check_name, help="The model's name; its folder in DIR is called so.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="A models folder.")
@click.option("--attention", default="original,split-einsum", show_default=True, callback=parse_attentions)
@click.option("--display-name", default="", help="Name for people.")
@click.option("--description", default="", help="What the model is and who made it.")
@click.option("--steps", default=STABLE_DIFFUSION_DEFAULTS.steps, show_default=True, help="Steps if nobody says.")
@click.option("--guidance-scale", default=STABLE_DIFFUSION_DEFAULTS.guidance_scale, show_default=True)
@click.option("--sampler", default=STABLE_DIFFUSION_DEFAULTS.sampler, show_default=True)
def main(
    checkpoint: Path,
    name: str,
    out: Path,
    attention: tuple[AttentionVariant, ...],
    display_name: str,
    description: str,
    steps: int,
    guidance_scale: float,
    sampler: str,
) -> None:
    """Converts CHECKPOINT, a diffusers folder, to Core ML packages and checks them against torch."""
    # Progress is told by package; the bars of the libraries beneath would cover it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    from farm.convert.model import Converted, convert_model

    def tell(converted: Converted) -> None:
        form = f"{converted.attention.value.lower()} {converted.component}"
        click.echo(f"{form:28} differs from torch by {converted.difference:.1e}")

    manifest = Manifest(
        display_name=display_name or name,
        description=description,
        defaults=ImageSpec(steps=steps, guidance_scale=guidance_scale, sampler=sampler),
    )
    try:
        convert_model(checkpoint, out / name, name, attention, manifest, tell)
        click.echo(f"{out / name} is ready; set FARM_MODELS={out} to render with it")
    except FarmError as error:
        raise click.ClickException(error.message) from error


if __name__ == "__main__":
    main()
