"""`farm demo`: a whole farm for the length of one batch."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import farm
from farm.batch import read_batch
from farm.cli.jobs import describe_end, pull_job
from farm.cli.options import null_renderer_option
from farm.cli.output import console
from farm.cli.progress import follow
from farm.client import Client
from farm.domain import JobState
from farm.errors import FarmError

SAMPLE_BATCH = Path(farm.__file__).parent / "assets" / "prompts.jsonl"
"""The batch of `examples/`, which is linked into the package so that an installed wheel has it too."""

STOP_SECONDS = 10.0


@click.command(
    epilog="""\b
Examples:
  farm demo
  farm demo my-prompts.txt --out out/mine"""
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=SAMPLE_BATCH, metavar="[FILE]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for the images.",
)
@null_renderer_option
def demo(file: Path, out: Path, null_renderer: bool) -> None:
    """Start a farm, render the sample batch (or FILE), and stop the farm again.

    The farm listens on a free port of this machine only, keeps its state in a temporary folder, and goes through the
    same doors as any other: gRPC, journal, scheduler, pipeline process. Nothing of it is left afterwards but the
    images, also if it is interrupted.
    """
    screen = console()
    with (
        tempfile.TemporaryDirectory(prefix="farm-demo-", ignore_cleanup_errors=True) as state,
        farm_process(Path(state), null_renderer) as process,
    ):
        with screen.status("Starting a farm on this machine ..."):
            address = read_address(process, Path(state))
        screen.print(f"A farm runs on this machine at {address}. Rendering {file.name} ...")
        with Client(address) as client:
            job = client.submit((row.spec for row in read_batch(file)), display_name=file.stem)
            follow(job, screen)
            click.echo(describe_end(job))
            pull_job(job, out)
    if job.state is not JobState.SUCCEEDED or job.message.failed_count:
        sys.exit(1)


@contextmanager
def farm_process(state: Path, null_renderer: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A coordinator in a process of its own, which ends with the block, and also if this process dies in any way.

    It is this Python with the same modules, whatever folder it runs in. It leads a session of its own, so that Ctrl-C
    reaches this process alone, which then stops it in order: it stops when its standard input ends. A second Ctrl-C,
    or more than `STOP_SECONDS`, kills it.
    """
    options = ["--address", "127.0.0.1:0", "--state", str(state), "--stop-with-stdin", "--json"]
    options += ["--null-renderer"] if null_renderer else []
    command = [sys.executable, "-P", "-m", "farm", "coordinator", *options]
    with log_file(state).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    assert process.stdin
    assert process.stdout
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        process.stdout.close()


def log_file(state: Path) -> Path:
    """Where the coordinator of a demo logs."""
    return state / "coordinator.log"


def read_address(process: subprocess.Popen[bytes], state: Path) -> str:
    """Where the coordinator listens, once it does.

    Raises:
        FarmError: It ended instead.
    """
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise FarmError(f"The farm could not be started:\n{log_file(state).read_text(errors='replace').strip()}")
    return str(json.loads(line)["address"])
