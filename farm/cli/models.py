"""Commands for models."""

import click

from farm.cli.options import Door, farm_options, json_option
from farm.cli.output import console, print_json, print_table, short_id
from farm.v1 import job_pb2, model_pb2


@click.group(invoke_without_command=True, epilog="Examples: farm models --json, farm models prewarm shapes")
@farm_options
@json_option
@click.pass_context
def models(context: click.Context, door: Door, as_json: bool) -> None:
    """List the models that can be rendered with, and what they do if not told otherwise; or have one loaded."""
    if context.invoked_subcommand is not None:
        return
    with door.connect() as client:
        listed = list(client.models())
    if as_json:
        print_json(listed)
        return
    print_table(
        ("MODEL", "NAME", "SIZE", "ATTENTION", "DEFAULTS"),
        (_row(model) for model in listed),
        nothing="The farm has no models. Put model folders where FARM_MODELS points, and start it again.",
    )
    for model in listed:
        console().print(f"\nSamplers of {short_id(model.name)}: {', '.join(model.samplers)}")


@models.command(epilog="Example: farm models prewarm shapes --worker studio-3")
@click.argument("model")
@click.option("--worker", "workers", multiple=True, help="Only on this worker; may be given several times.")
@farm_options
@json_option
def prewarm(model: str, workers: tuple[str, ...], door: Door, as_json: bool) -> None:
    """Have workers load MODEL ahead of its jobs, so that the first image need not wait for it.

    Each loads it when it has nothing to render, and keeps it until it needs another. `farm workers --json` names the
    models that are loaded on each.
    """
    with door.connect() as client:
        told = client.prewarm(model, workers)
    if as_json:
        print_json({"workers": told})
    elif told:
        click.echo(f"Loading {model} as soon as they have nothing to render: {', '.join(map(short_id, told))}")
    else:
        click.echo(f"No worker that is there can render with {model}.")


def _row(model: model_pb2.Model) -> tuple[str, ...]:
    sizes = sorted({(variant.width, variant.height) for variant in model.variants})
    attentions = (job_pb2.Attention.Name(variant.attention) for variant in model.variants)
    return (
        short_id(model.name),
        model.display_name,
        ", ".join(f"{width}x{height}" for width, height in sizes),
        ", ".join(sorted({name.removeprefix("ATTENTION_").lower() for name in attentions})),
        f"{model.defaults.steps} steps, guidance {model.defaults.guidance_scale:g}, {model.defaults.sampler}",
    )
