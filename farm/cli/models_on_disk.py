"""Commands that put models on this machine's disk, check them and take them away."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from farm.api.codec import encode_model
from farm.api.json_form import json_form
from farm.catalogue.store import ModelStore
from farm.cli.options import json_option
from farm.cli.output import console, print_json, short_id
from farm.domain import AttentionVariant, ChipClass, ComputeUnit, Model, ModelVariant
from farm.errors import FarmError

_SUITS = {
    ChipClass.ANE: (AttentionVariant.SPLIT_EINSUM_V2, AttentionVariant.SPLIT_EINSUM, AttentionVariant.ORIGINAL),
    ChipClass.GPU: (AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2),
    ChipClass.CPU: (AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2),
}
"""Attentions by what suits a class of chips, the best first."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""How repositories of the hub are called."""

name_option = click.option("--name", default="", help="Name for the model.")


@click.command(
    epilog="""\b
Example:
  farm models add ~/Downloads/coreml-stable-diffusion-v1-5_original_compiled.zip"""
)
@click.argument("path", type=click.Path(path_type=Path))
@name_option
@click.option("--link", is_flag=True, help="Use the folder where it is instead of copying it.")
@json_option
def add(path: Path, name: str, link: bool, as_json: bool) -> None:
    """Add the model at PATH, a folder or a zip archive, to this machine.

    Reads every layout in which Core ML Stable Diffusion models are published; `docs/models.md` lists them. If there is
    a model with this name already, PATH becomes another form of it.
    """
    store = ModelStore()
    with _bar("Copying", _size(path)) as on_bytes:
        model = store.add(path, name, link=link, on_bytes=on_bytes)
    _tell(model, as_json=as_json, verb="added")


@click.command(
    epilog="""\b
Example:
  farm models pull apple/coreml-stable-diffusion-2-1-base --variant split_einsum"""
)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--variant", help="The form to fetch: an attention, or its folder.  [default: what suits this chip]")
@click.option("--revision", help="Branch, tag or commit.  [default: main]")
@name_option
@json_option
def pull(repository: str, variant: str | None, revision: str | None, name: str, as_json: bool) -> None:
    """Fetch one form of the model OWNER/NAME from the Hugging Face hub.

    Run the command again to continue an interrupted fetch where it stopped. With HF_HUB_OFFLINE=1 the files are taken
    from the cache of Hugging Face's tools; HF_ENDPOINT and HF_TOKEN have their usual meaning.
    """
    from farm.catalogue import hub
    from farm.worker.probe import probe

    if not _REPOSITORY.fullmatch(repository):
        raise click.UsageError(
            f'"{repository}" is not a repository name: give OWNER/NAME, like apple/coreml-stable-diffusion-2-1-base. '
            "For a folder or an archive on this machine, use `farm models add`."
        )

    found = hub.look_up(repository, revision)
    form = hub.choose(found, variant, _SUITS[probe().chip_class])
    if not as_json:
        others = [other.label for other in hub.forms_in(found) if other != form]
        more = f" Other forms: {', '.join(others)}." if others else ""
        click.echo(f"Fetching {form.label} of {repository}, {form.size / 1e6:,.0f} MB.{more}", err=True)
    with _bar("Fetching", form.size) as on_bytes:
        model = hub.pull(found, form, ModelStore(), name, on_bytes=on_bytes)
    _tell(model, as_json=as_json, verb="pulled")


@click.command(epilog="Example: farm models verify shapes")
@click.argument("model")
@click.option("--load/--no-load", default=True, help="Whether to load each package as well.  [default: load]")
@json_option
def verify(model: str, load: bool, as_json: bool) -> None:
    """Check MODEL on this machine: every byte, what the packages say, and whether they load.

    The exit code is 1 if anything is wrong. Bytes are compared with what they were when the model was added or pulled;
    for a model that was copied there by hand there is nothing to compare with.
    """
    store = ModelStore()
    with _bar("Reading", 0) as on_bytes:
        verdict = store.verify(short_id(model), on_bytes)
    problems = list(verdict.problems)
    loaded = 0
    for variant in verdict.model.variants if load else ():
        for component in variant.components:
            problem = _load_problem(variant, component)
            problems += [problem] if problem else []
            loaded += problem is None
    if as_json:
        name = f"models/{verdict.model.name}"
        print_json({"name": name, "files_checked": verdict.checked, "packages_loaded": loaded, "problems": problems})
    else:
        compared = f"{verdict.checked} files compared" if verdict.checked else "no record of its files to compare with"
        counted = "1 problem" if len(problems) == 1 else f"{len(problems) or 'no'} problems"
        click.echo(f"{verdict.model.name}: {compared}, {loaded} packages loaded, {counted}")
        for problem in problems:
            click.echo(f"  {problem}")
    sys.exit(1 if problems else 0)


@click.command(epilog="Example: farm models remove my-model")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation. --json requires it.")
@json_option
def remove(model: str, yes: bool, as_json: bool) -> None:
    """Delete MODEL from this machine's disk; of a linked model, only the link."""
    if not yes:
        if as_json or not sys.stdin.isatty():
            why = "With --json nobody is asked" if as_json else "This is no terminal, so nobody can be asked"
            raise click.UsageError(f"{why}; give --yes to delete the model.")
        click.confirm(f"Delete the model {short_id(model)} from this machine?", abort=True)
    freed = ModelStore().remove(short_id(model))
    if as_json:
        print_json({"name": f"models/{short_id(model)}", "freed_bytes": freed})
    else:
        click.echo(f"Removed {short_id(model)}; {freed / 1e6:,.0f} MB were freed.")


def _load_problem(variant: ModelVariant, component: str) -> str | None:
    """What keeps a package from being loaded here, in a sentence; None if nothing does."""
    from farm.runtime.select import select_runtime

    runtime = select_runtime()
    try:
        runtime.load(variant.components[component], ComputeUnit.CPU_ONLY, variant.functions.get(component))
    except FarmError as error:
        return f"{component} of {variant.attention.value} does not load here: {error.message}"
    return None


def _tell(model: Model, *, as_json: bool, verb: str) -> None:
    if as_json:
        print_json({"model": json_form(encode_model(model))})
        return
    forms = ", ".join(f"{each.attention.value.lower()} {each.width}x{each.height}" for each in model.variants)
    click.echo(f"{model.name} {verb}: {forms}. Farms and workers running here will offer it within seconds.")
    if any(variant.is_compiled for variant in model.variants) and sys.platform != "darwin":
        click.echo("It is compiled, and only Macs run compiled models. To render here, get its packages (.mlpackage).")


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of bytes on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    screen = console(error=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(what, total=total or None)
        yield lambda count: progress.update(task, advance=count)
