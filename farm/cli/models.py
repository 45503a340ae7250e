"""Commands for models: which there are, and what they do."""

import click

from farm.api.codec import encode_model
from farm.catalogue import Catalogue
from farm.catalogue.catalogue import user_models_folder
from farm.catalogue.store import ModelStore
from farm.cli.models_on_disk import add, pull, remove, verify
from farm.cli.options import FarmAddress, check_inherited, farm_options, inherited, json_option
from farm.cli.output import console, print_json, print_table, short_id
from farm.errors import ModelNotFoundError, UnreachableError
from farm.v1 import job_pb2, model_pb2

local_option = click.option(
    "--local", is_flag=True, callback=inherited, help="List what is on this machine's disk, and ask no farm."
)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  farm models
  farm models pull apple/coreml-stable-diffusion-2-1-base
  farm models prewarm shapes""",
)
@farm_options
@local_option
@json_option
@click.pass_context
def models(context: click.Context, farm: FarmAddress, local: bool, as_json: bool) -> None:
    """List, fetch and check models, or have one loaded.

    Without a command, lists them as `farm models list` does. A model must be on the disk of every machine that uses it:
    of the coordinator, which must know it, and of each worker that is to render with it. Models are in the folder that
    FARM_MODELS names, or in one in your user's data folder.
    """
    if context.invoked_subcommand is not None:
        check_inherited(context)
        return
    _list(farm, local=local, as_json=as_json)


@models.command("list", epilog="Example: farm models list --local")
@farm_options
@local_option
@json_option
def list_models(farm: FarmAddress, local: bool, as_json: bool) -> None:
    """List the models that can be used, their defaults, and the workers that have them.

    Asks the farm; if none answers, lists what is on this machine's disk.
    """
    _list(farm, local=local, as_json=as_json)


@models.command(epilog="Example: farm models show shapes")
@click.argument("model")
@farm_options
@local_option
@json_option
def show(model: str, farm: FarmAddress, local: bool, as_json: bool) -> None:
    """Show MODEL: each of its forms with its digest, its defaults, and the workers that have it."""
    shown = next((each for each in _known(farm, local=local) if short_id(each.name) == short_id(model)), None)
    if shown is None:
        Catalogue().get(short_id(model))  # it may be there and broken, which this says
        raise ModelNotFoundError(
            f"There is no model {model!r}. `farm models list` lists the existing ones.", model=model
        )
    if as_json:
        print_json(shown)
        return
    click.echo(f"{short_id(shown.name)}: {shown.display_name}\n{shown.description}".rstrip())
    print_table(("SIZE", "ATTENTION", "PRECISION", "ON DISK", "DIGEST"), map(_variant_row, shown.variants), nothing="")
    defaults = shown.defaults
    click.echo(
        f"Defaults: {defaults.width}x{defaults.height}, {_row(shown)[4]}\n"
        f"Workers: {', '.join(map(short_id, shown.workers)) or 'none known here'}"
    )
    for source in ModelStore().inventory(short_id(model)).sources:
        click.echo(f"On this machine, from: {source}")


def _known(farm: FarmAddress, *, local: bool) -> list[model_pb2.Model]:
    """What the farm knows, or what is on this machine's disk if there is none, or if it is not to be asked."""
    if not local:
        try:
            with farm.connect() as client:
                return list(client.models())
        except UnreachableError as error:
            click.echo(f"No farm answers ({error.message}). This is what is on this machine's disk.", err=True)
    catalogue = Catalogue()
    for name, problem in catalogue.problems().items():
        click.echo(f"{name} cannot be used: {problem.message}", err=True)
    return [encode_model(model) for model in catalogue.models()]


def _list(farm: FarmAddress, *, local: bool, as_json: bool) -> None:
    listed = _known(farm, local=local)
    if as_json:
        print_json(listed)
        return
    print_table(
        ("MODEL", "NAME", "SIZE", "ATTENTION", "DEFAULTS", "WORKERS"),
        (_row(model) for model in listed),
        nothing=f"There are no models. Fetch one with `farm models pull`, or put a folder into {user_models_folder()}.",
    )
    for model in listed:
        console().print(f"\nSamplers of {short_id(model.name)}: {', '.join(model.samplers)}")


for command in (add, pull, verify, remove):
    models.add_command(command)


@models.command(epilog="Example: farm models prewarm shapes --worker studio-3")
@click.argument("model")
@click.option("--worker", "workers", multiple=True, help="Only on this worker. Repeat the option for more.")
@farm_options
@json_option
def prewarm(model: str, workers: tuple[str, ...], farm: FarmAddress, as_json: bool) -> None:
    """Have workers load MODEL ahead of its jobs, so that the first image need not wait for it.

    Each loads it when it has nothing to render, and keeps it until it needs another. `farm workers --json` names the
    models that each has loaded.
    """
    with farm.connect() as client:
        told = client.prewarm(model, workers)
    if as_json:
        print_json({"workers": told})
    elif told:
        click.echo(f"Loading {model} as soon as they have nothing to render: {', '.join(map(short_id, told))}")
    else:
        click.echo(f"No worker that is present can render with {model}.")


def _row(model: model_pb2.Model) -> tuple[str, ...]:
    sizes = sorted({(variant.width, variant.height) for variant in model.variants})
    attentions = (job_pb2.Attention.Name(variant.attention) for variant in model.variants)
    return (
        short_id(model.name),
        model.display_name,
        ", ".join(f"{width}x{height}" for width, height in sizes),
        ", ".join(sorted({name.removeprefix("ATTENTION_").lower() for name in attentions})),
        f"{model.defaults.steps} steps, guidance {model.defaults.guidance_scale:g}, {model.defaults.sampler}",
        ", ".join(map(short_id, model.workers)),
    )


def _variant_row(variant: model_pb2.ModelVariant) -> tuple[str, ...]:
    return (
        f"{variant.width}x{variant.height}",
        job_pb2.Attention.Name(variant.attention).removeprefix("ATTENTION_").lower(),
        variant.precision,
        f"{variant.size_bytes / 1e6:,.0f} MB",
        variant.digest,
    )
