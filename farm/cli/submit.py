"""`farm submit`: prompts, batch files, templates and grids in."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from farm.batch import READERS, read_picture
from farm.batch.grid import Axis, parse_axis
from farm.cli.entries import Batch, Source, expanded, fields_as_options, file_source, prompts_source, varied
from farm.cli.jobs import follow_to_end, pull_job
from farm.cli.options import FarmAddress, farm_options, json_option, read_pairs
from farm.cli.outcome import describe_end, describe_failures, exit_code
from farm.cli.output import console, count_images, print_json, short_id
from farm.cli.preview import show_preview
from farm.client import Client, Job
from farm.domain import SAMPLERS, SEED_LIMIT, AttentionVariant, ChipClass, ComputeUnit, Pin
from farm.errors import InvalidRequestError
from farm.output_folder import check_output_folder

CONFIRM_ABOVE = 200
"""Images that a template or grid may make before somebody at a terminal is asked."""


def _axes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Axis, ...]:
    try:
        axes = tuple(parse_axis(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if len({axis.field for axis in axes}) < len(axes):
        raise click.BadParameter("each field can be varied once")
    return axes


def _picture(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> bytes | None:
    return None if path is None else read_picture(path)


def _uuid_text(_context: click.Context, _parameter: click.Parameter, value: UUID | None) -> str | None:
    return None if value is None else str(value)


@click.command(
    epilog="""\b
Examples:
  farm submit -p "a red circle on a white background" --wait --pull out/circle
  farm submit prompts.txt --steps 30 --seed 7
  farm submit batch.csv --model shapes --wait --pull out/batch
  farm submit batch.csv --dry-run
  farm submit -t -p "a {red|blue} {circle|star} on a __background__" --wildcards wildcards
  farm submit -p "a red circle" --init-image sketch.png --strength 0.6 --pull out/drawn
  farm submit -p "a red circle" --vary guidance_scale=1,3,5 --vary sampler=euler,dpmpp-2m --pull out/grid
  shuf -n 100 prompts.txt | farm submit - --json"""
)
@click.argument("file", required=False)
@click.option("-p", "--prompt", "prompts", multiple=True, help="A prompt. Repeat the option for more.")
@click.option("--format", "ending", type=click.Choice(list(READERS)), default="txt", help="How to read standard input.")
@click.option(
    "-t",
    "--templates",
    "is_template",
    is_flag=True,
    help="Read prompts as templates: {red|blue}, {2$$a|b|c}, __wildcard__, ${name=value}; every combination.",
)
@click.option(
    "--wildcards",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of NAME.txt files, one alternative per line, for __NAME__ in templates.",
)
@click.option(
    "--random",
    "draws",
    type=click.IntRange(1),
    metavar="N",
    help="Draw N prompts from each template instead of every combination; the same --seed draws the same.",
)
@click.option(
    "--vary",
    "axes",
    multiple=True,
    metavar="FIELD=VALUE,...",
    callback=_axes,
    help="Render each prompt once per value, from the same noise. Repeat the option to render every combination.",
)
@click.option("--model", default="", help="Name of the model.  [default: the only one]")
@click.option("--name", "display_name", default="", help="Display name of the job.")
@click.option("--priority", default=0, help="Larger runs first; -100 to 100.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=read_pairs,
    help="A label of your own. Repeat the option for more.",
)
@click.option("--webhook", metavar="URL", help="Notify this URL when the job ends, signed: see `farm webhooks`.")
@click.option("--negative-prompt", help="What images should not show.")
@click.option("--seed", type=int, help="Seed of the first image; the others count up from it.  [default: random]")
@click.option("--width", type=int, help="Width in pixels.")
@click.option("--height", type=int, help="Height in pixels.")
@click.option("--steps", type=int, help="Denoising steps.")
@click.option("--guidance-scale", type=float, help="How strongly the prompt steers; none at 1 or below.")
@click.option("--sampler", metavar="NAME", help=f"Diffusion solver: {', '.join(SAMPLERS)}.")
@click.option(
    "--init-image",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_picture,
    metavar="FILE",
    help="A PNG or JPEG that images start from.",
)
@click.option("--strength", type=float, help="How far images may depart from it, above 0 and up to 1.  [default: 0.8]")
@click.option(
    "--chip-class",
    type=click.Choice([one.value for one in ChipClass], False),
    help="Run only on workers of this chip class.",
)
@click.option(
    "--compute-unit",
    type=click.Choice([one.value for one in ComputeUnit], False),
    help="Run only on this Core ML compute unit.",
)
@click.option(
    "--attention",
    type=click.Choice([one.value for one in AttentionVariant], False),
    help="Use only this attention variant of the model.",
)
@click.option("--runtime", metavar="NAME", help="Run only with this runtime: coreml or portable.")
@click.option("--model-digest", metavar="DIGEST", help="Use only the form of the model that has this digest.")
@click.option(
    "--worker-label",
    "worker_labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=read_pairs,
    help="Run only on workers with this label. Repeat the option to require several.",
)
@click.option(
    "--request-id",
    type=click.UUID,
    callback=_uuid_text,
    help="A UUID: sending the same submission again with it makes no second job.",
)
@click.option("--dry-run", is_flag=True, help="Submit nothing; say what it would take, or list all mistakes.")
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    help=f"Do not ask for confirmation when a template or grid makes more than {CONFIRM_ABOVE} images.",
)
@click.option("-w", "--wait", is_flag=True, help="Show progress until the job has ended.")
@click.option("--pull", "folder", type=click.Path(file_okay=False, path_type=Path), help="Wait, then fetch into DIR.")
@farm_options
@json_option
@click.pass_context
def submit(
    context: click.Context,
    /,
    file: str | None,
    prompts: tuple[str, ...],
    ending: str,
    is_template: bool,
    wildcards: Path | None,
    draws: int | None,
    axes: tuple[Axis, ...],
    labels: dict[str, str],
    chip_class: str | None,
    compute_unit: str | None,
    attention: str | None,
    runtime: str | None,
    model_digest: str | None,
    worker_labels: dict[str, str],
    dry_run: bool,
    yes: bool,
    wait: bool,
    folder: Path | None,
    farm: FarmAddress,
    as_json: bool,
    **fields: Any,
) -> None:
    """Submit prompts, or a FILE of them (- is standard input).

    FILE is .txt (one prompt per line), or .csv or .jsonl with the columns prompt, negative_prompt, seed, width, height,
    steps, guidance_scale, sampler, strength, init_image (the path of a picture, relative to FILE's folder). What a row
    leaves out comes from the options, then from the model. If a row is wrong, nothing is submitted.

    If the farm restarts meanwhile, the submission is sent again. --dry-run exits with 0 if the farm would accept all of
    it and with 1 if not; --wait and --pull exit with 0 if every image was rendered and with 1 if not. Ctrl-C ends the
    waiting; the job continues.
    """
    pin = Pin(
        chip_class=ChipClass(chip_class) if chip_class else None,
        compute_unit=ComputeUnit(compute_unit) if compute_unit else None,
        attention=AttentionVariant(attention) if attention else None,
        runtime=runtime,
        model_digest=model_digest,
        worker_labels=worker_labels,
    )
    arguments = {name: value for name, value in fields.items() if value is not None}
    arguments |= {"pin": pin, "labels": labels}
    if not is_template and (wildcards or draws):
        raise click.UsageError("--wildcards and --random are for templates; add --templates.")
    if axes and "request_id" in arguments and "seed" not in arguments:
        raise click.UsageError(
            "--vary draws a random seed, so repeating this --request-id would be another submission. Add --seed."
        )
    if (file is None) == (not prompts):
        raise click.UsageError("Give either a FILE, or prompts with -p.")
    source = prompts_source(prompts) if file is None else file_source(file, ending, context)
    if is_template:
        source = expanded(source, wildcards, draws, arguments.get("seed", 0))
    if axes:
        arguments.setdefault("seed", secrets.randbelow(SEED_LIMIT))
        source = varied(source, axes, arguments["seed"])
    with farm.connect() as client, fields_as_options():
        if dry_run:
            sys.exit(0 if show_preview(client, source, arguments, as_json=as_json) else 1)
        if is_template or axes:
            _confirm(source, axes, yes=yes)
        if folder is not None:
            check_output_folder(folder)
        job = send(client, source, arguments)
        if not as_json:
            click.echo(f"Accepted {job.name}: {count_images(job.message.image_count)}.")
        if wait or folder:
            _finish(job, folder, as_json=as_json)
        elif as_json:
            print_json(job.message)
        else:
            name = short_id(job.name)
            click.echo(f"Follow it: farm watch {name}\nFetch it:  farm pull {name} out/{name}")


def _confirm(source: Source, axes: Sequence[Axis], *, yes: bool) -> None:
    """Says how many images a template or grid makes, and asks somebody at a terminal if they are many."""
    count = sum(1 for _ in Batch(source))
    grid = " x ".join(f"{len(axis.values)} values of {axis.field}" for axis in axes)
    click.echo(
        ("1 image" if count == 1 else f"{count:,} images") + (f", each prompt with {grid}." if grid else "."), err=True
    )
    if count > CONFIRM_ABOVE and not yes and sys.stdin.isatty() and not click.confirm("Submit them?", err=True):
        click.echo("Nothing was submitted.", err=True)
        sys.exit(1)


def send(client: Client, source: Source, arguments: dict[str, Any]) -> Job:
    """Submits with a progress bar; a refusal names lines of the source."""
    batch = Batch(source)
    columns = (
        TextColumn("Sending"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]:,} images"),
        TimeElapsedColumn(),
    )
    screen = console(error=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task("", total=source.line_count, count=0)
        batch.on_thousand = lambda count, line: progress.update(bar, completed=line, count=count)
        try:
            return client.submit(batch, **arguments)
        except InvalidRequestError as error:
            raise batch.located(error) from None


def _finish(job: Job, folder: Path | None, *, as_json: bool) -> None:
    """Waits for the end, fetches what there is, and exits with 1 if the job or any image failed."""
    follow_to_end(job, console(error=as_json))
    if as_json:
        print_json(job.message)
        click.echo("\n".join(describe_failures(job)), err=True, nl=bool(job.message.failed_count))
    else:
        click.echo(describe_end(job))
    if folder is not None:
        if as_json:
            job.download(folder)
        else:
            pull_job(job, folder)
    sys.exit(exit_code(job))
