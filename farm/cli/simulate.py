"""The command that simulates a farm."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from farm.cli.options import json_option
from farm.cli.output import console, print_table
from farm.errors import ScenarioError
from farm.simulator.drawing import draw
from farm.simulator.report import Report, summarize
from farm.simulator.scenario import NO_FAULTS, POLICIES, Faults, Fleet, Workload, parse
from farm.simulator.simulation import PATIENCE_SECONDS, Simulation
from farm.simulator.usage import Usage

_PARTS = 500
"""In which a run is shown."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  farm simulate examples/fleets/studio.toml examples/fleets/batch.toml --plot out/studio.svg
  farm simulate examples/fleets/studio.toml examples/fleets/day.toml --faults examples/fleets/faults.toml"""
)
@click.argument("fleet", type=FILE)
@click.argument("workload", type=FILE)
@click.option("--faults", type=FILE, help="What goes wrong, as a TOML file.")
@click.option(
    "--policy",
    type=click.Choice(list(POLICIES)),
    default="best",
    show_default=True,
    help="Which compute units the scheduler may choose from: all, or always the same one.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all randomness.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw what each Mac rendered when, and the throughput, into this .svg file.",
)
@json_option
def simulate(
    fleet: Path, workload: Path, faults: Path | None, policy: str, seed: int, plot: Path | None, as_json: bool
) -> None:
    """Run the scheduler over a simulated FLEET and WORKLOAD, both TOML files, in virtual time.

    The simulated Macs are as fast as published measurements say; the scheduler is the very code that runs a farm. The
    same files and seed give the same run. docs/simulator.md says what the files can hold, and what the figures mean.
    """
    if plot is not None and plot.suffix.lower() != ".svg":
        raise click.UsageError(f"--plot draws SVG: let {plot} end in .svg.")
    simulation = Simulation(
        parse(_read(fleet), Fleet, str(fleet)),
        parse(_read(workload), Workload, str(workload)),
        parse(_read(faults), Faults, str(faults)) if faults else NO_FAULTS,
        seed=seed,
        policy=policy,
        keep_spans=plot is not None,
    )
    if plot is not None:
        _require_writable(plot)  # now, rather than when all is done
    _run(simulation)
    report = summarize(simulation)
    if plot is not None:
        _write(plot, draw(simulation))
    if as_json:
        click.echo(json.dumps(asdict(report)))
        return
    _print(report)
    if plot is not None:
        console().print(f"Drawn to {plot}.")


def _run(simulation: Simulation) -> None:
    """Runs it to its end, with a progress bar."""
    total = sum(opened.image_count for opened in simulation.arrivals)
    screen = console(error=True)
    columns = (TextColumn("Simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task("", total=total)
        part = reached = max(1, total // _PARTS)
        while (done := simulation.run(images=reached).image_count) >= reached:
            progress.update(bar, completed=done)
            reached = done + part


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path} cannot be read ({error}). See examples/fleets/ for samples.") from None


def _require_writable(path: Path) -> None:
    """Opens what is to be written, and leaves it as it was."""
    is_new = not path.exists()
    _write(path, "", "a")
    if is_new:
        path.unlink()


def _write(path: Path, text: str, mode: Literal["a", "w"] = "w") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written ({error.strerror}). Name another with --plot.") from None


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:,.0f} s"


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _part(part: float | None) -> str:
    return "-" if part is None else f"{part:.1%}"


def _print_usages(column: str, usages: Iterable[tuple[str, Usage]]) -> None:
    console().print()
    print_table(
        (column, "MACS", "IMAGES", "UTILISATION", "LOADING", "LOST"),
        (
            (
                name,
                f"{usage.macs:,}",
                f"{usage.images:,}",
                _part(usage.utilisation),
                _part(usage.loading),
                _part(usage.lost),
            )
            for name, usage in usages
        ),
        nothing="No Macs.",
    )


def _print(report: Report) -> None:
    ended, submitted = report.jobs
    coverage = "-" if report.eta_coverage is None else f"{report.eta_coverage:.0%} of {report.quotes}"
    print_table(
        ("FIGURE", "VALUE"),
        (
            ("jobs that ended", f"{ended:,} of {submitted:,}"),
            ("images", f"{report.images:,}"),
            ("images given up", f"{report.failed:,}"),
            ("makespan", f"{report.makespan:,.0f} s"),
            ("least possible", _seconds(report.bound)),
            ("efficiency", f"{report.efficiency:.3f}" if report.efficiency else "-"),
            ("rendered twice", f"{report.wasted:,}"),
            ("ends within their 80 % interval", coverage),
        ),
        nothing="",
    )
    _print_usages("CLASS", ((usage.chip_class, usage) for usage in report.classes))
    _print_usages("CHIP", ((usage.chip or "", usage) for usage in report.chips))
    console().print()
    print_table(
        ("SUBMITTER", "JOBS", "IMAGES", "WAIT (MEDIAN)", "TURNAROUND (MEDIAN)"),
        (
            (
                submitter.submitter,
                f"{submitter.jobs:,}",
                f"{submitter.images:,}",
                _seconds(submitter.median_wait),
                _seconds(submitter.median_turnaround),
            )
            for submitter in report.submitters
        ),
        nothing="No jobs.",
    )
    if report.unfit:
        console().print(f"No Mac fits {_jobs(report.unfit)}; the least possible time is that of the others.")
    if (undone := submitted - ended - report.unfit) > 0:
        hours = f"{PATIENCE_SECONDS / 3600:.0f} hours"
        console().print(f"Not done: {_jobs(undone)}. The Macs that fit left for good, or finished nothing for {hours}.")
    for left in report.left_out:
        macs = f"{left.macs:,} {left.chip} with {left.memory_gb} GB"
        console().print(f"Not for {left.model}: {macs}; each {left.reason}.")
