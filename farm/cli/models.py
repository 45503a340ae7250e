"""Commands for models."""

import click

from farm.cli.options import address_option, json_option
from farm.cli.output import console, print_json, print_table, short_id
from farm.client import Client
from farm.v1 import job_pb2, model_pb2


@click.command(epilog="Example: farm models --json")
@address_option
@json_option
def models(address: str, as_json: bool) -> None:
    """List the models that can be rendered with, and what they do if not told otherwise."""
    with Client(address) as client:
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
