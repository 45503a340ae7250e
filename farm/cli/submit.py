"""`farm submit`: prompts and batch files in."""

import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from farm.batch import READERS, Row, read_batch, read_stream
from farm.cli.jobs import describe_end, pull_job
from farm.cli.options import address_option, json_option
from farm.cli.output import console, print_json, short_id
from farm.cli.progress import follow
from farm.client import Client, Job
from farm.domain import AttentionVariant, ChipClass, ComputeUnit, ImageSpec, JobState, Pin
from farm.errors import InvalidRequestError

STDIN = "-"

_PLACE = re.compile(r"entries\[(\d+)\](?:\.(\w+))?")


@click.command(
    epilog="""\b
Examples:
  farm submit -p "a red circle on a white background" --wait --pull out/circle
  farm submit prompts.txt --steps 30 --seed 7
  farm submit batch.csv --model shapes --wait --pull out/batch
  shuf -n 100 prompts.txt | farm submit - --json"""
)
@click.argument("file", required=False)
@click.option("-p", "--prompt", "prompts", multiple=True, help="A prompt; give it again for more.")
@click.option("--format", "ending", type=click.Choice(list(READERS)), default="txt", help="How to read standard input.")
@click.option("--model", default="", help="Name of the model.  [default: the only one]")
@click.option("--name", "display_name", default="", help="A name for people.")
@click.option("--priority", default=0, help="Larger runs first, -100 to 100.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Your own label; give it again for more.")
@click.option("--negative-prompt", help="What no image should show.")
@click.option("--seed", type=int, help="Seed of the first image; each next one has the next.  [default: drawn]")
@click.option("--width", type=int, help="Width in pixels.")
@click.option("--height", type=int, help="Height in pixels.")
@click.option("--steps", type=int, help="Denoising steps.")
@click.option("--guidance-scale", type=float, help="How strongly the prompt steers; none at 1 or below.")
@click.option("--sampler", help="Name of the diffusion solver; `farm models` lists them.")
@click.option("--chip-class", type=click.Choice([one.value for one in ChipClass], False), help="Run only there.")
@click.option("--compute-unit", type=click.Choice([one.value for one in ComputeUnit], False), help="Run only on it.")
@click.option(
    "--attention", type=click.Choice([one.value for one in AttentionVariant], False), help="Run only this form."
)
@click.option("--request-id", help="A UUID: the same submission sent again with it makes no second job.")
@click.option("-w", "--wait", is_flag=True, help="Show progress until the job has ended.")
@click.option("--pull", "folder", type=click.Path(file_okay=False, path_type=Path), help="Wait, then fetch into DIR.")
@address_option
@json_option
def submit(
    file: str | None,
    prompts: tuple[str, ...],
    ending: str,
    labels: tuple[str, ...],
    chip_class: str | None,
    compute_unit: str | None,
    attention: str | None,
    wait: bool,
    folder: Path | None,
    address: str,
    as_json: bool,
    **fields: Any,
) -> None:
    """Submit prompts, or a FILE of them (- is standard input).

    FILE is .txt (a prompt a line), or .csv or .jsonl with the columns prompt, negative_prompt, seed, width, height,
    steps, guidance_scale, sampler. What a row leaves open, the options fill in; what they leave open, the model does.
    If a row is wrong, nothing is submitted.
    """
    pin = Pin(
        chip_class=ChipClass(chip_class) if chip_class else None,
        compute_unit=ComputeUnit(compute_unit) if compute_unit else None,
        attention=AttentionVariant(attention) if attention else None,
    )
    options = {name: value for name, value in fields.items() if value is not None}
    with Client(address) as client:
        batch = _Batch(_rows(file, prompts, ending))
        try:
            with console(error=True).status("Sending ...") as status:
                batch.on_thousand = lambda count: status.update(f"Sending ... {count:,} prompts")
                job = client.submit(batch, labels=_parse_labels(labels), pin=pin, **options)
        except InvalidRequestError as error:
            raise batch.located(error, file or "the prompts") from None
        if not as_json:
            click.echo(f"Accepted {job.name}: {job.message.image_count} images.")
        if wait or folder:
            _finish(job, folder, as_json=as_json)
        elif as_json:
            print_json(job.message)
        else:
            name = short_id(job.name)
            click.echo(f"Follow it: farm watch {name}\nFetch it:  farm pull {name} out/{name}")


def _rows(file: str | None, prompts: tuple[str, ...], ending: str) -> Iterable[Row]:
    if (file is None) == (not prompts):
        raise click.UsageError("Give either a FILE or prompts with -p.")
    if file is None:
        return [Row(number, ImageSpec(prompt=prompt)) for number, prompt in enumerate(prompts, 1)]
    if file == STDIN:
        return read_stream(sys.stdin.buffer, READERS[ending], "standard input")
    return read_batch(Path(file))


def _parse_labels(labels: tuple[str, ...]) -> dict[str, str]:
    pairs = [label.partition("=") for label in labels]
    if any(not key or not separator for key, separator, _ in pairs):
        raise click.UsageError("Write labels as KEY=VALUE.")
    return {key: value for key, _, value in pairs}


class _Batch:
    """The entries of a batch, which remembers the line of each (8 bytes a row) in case the farm refuses one."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self._lines = array("Q")
        self.on_thousand: Callable[[int], object] = lambda _: None
        """Told how many rows were read, after each thousand."""

    def __iter__(self) -> Iterator[ImageSpec]:
        for count, row in enumerate(self._rows):
            if count % 1000 == 0:
                self.on_thousand(count)
            self._lines.append(row.line)
            yield row.spec

    def located(self, error: InvalidRequestError, name: str) -> InvalidRequestError:
        """The farm's refusal with lines and columns of the file in place of entries' indices."""

        def place(match: re.Match[str]) -> str:
            line = self._lines[int(match[1])]
            return f"{name}, line {line}, column {match[2]}:" if match[2] else f"{name}, line {line}:"

        violations = {_PLACE.sub(place, field): problem for field, problem in error.violations.items()}
        return InvalidRequestError(_PLACE.sub(place, error.message), violations, **error.metadata)


def _finish(job: Job, folder: Path | None, *, as_json: bool) -> None:
    """Waits for the end, fetches what there is, and exits with 1 if the job did not succeed."""
    out = console(error=as_json)
    follow(job, out)
    if as_json:
        print_json(job.message)
    else:
        click.echo(describe_end(job))
    if folder is not None:
        if as_json:
            job.download(folder)
        else:
            pull_job(job, folder)
    if job.state is not JobState.SUCCEEDED:
        sys.exit(1)
